package stay_test

import (
	"context"
	"fmt"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
)

// A stay is stored twice, the second time without an effect, and read in a list of its
// site, page by page.
func ExampleStore() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := redis.Open(redis.URL("redis://127.0.0.1:6379"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	store := stay.New(client, 90*24*time.Hour)

	exit := time.Now()
	completed := parking.Stay{
		ID: "x1", Site: "north", Plate: parking.NormalizePlate("ka-01 ab-1234"), ExitTime: exit, Revision: 1,
		EntryID: "e1", EntryTime: exit.Add(-90 * time.Minute),
	}
	for range 2 {
		stored, err := store.Upsert(ctx, []parking.Stay{completed})
		fmt.Println(stored, err)
	}
	query := stay.Query{Sites: []string{"north"}, Limit: 100}
	for {
		page, err := store.List(ctx, query)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, s := range page.Stays {
			fmt.Println(s.Plate, s.Status(), s.UpdatedAt)
		}
		if query.Cursor = page.Next; query.Cursor == "" {
			return
		}
	}
}
