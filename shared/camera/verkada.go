package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// verkada is the LPR webhook of Verkada Command.
var verkada = Format{
	Name: "verkada",
	Recognise: func(r Request) bool {
		e := r.example()
		return hasAll(e, "data") && hasAny(e, "webhook_type", "webhook_id")
	},
	Parse: parseVerkada,
}

// verkadaWebhook is one message.
type verkadaWebhook struct {
	Type loose `json:"webhook_type"`
	Data struct {
		// Created is when the camera saw the plate, Detected when the plate was known.
		Created    loose   `json:"created"`
		Detected   loose   `json:"detected"`
		Plate      present `json:"license_plate_number"`
		OldPlate   present `json:"license_plate"`
		Confidence loose   `json:"confidence"`
		State      loose   `json:"license_plate_state"`
	} `json:"data"`
}

func parseVerkada(r Request, c site.Camera) (Message, error) {
	return eachRead(r, func(w verkadaWebhook) (Read, error) {
		if !w.Data.Plate.Given && !w.Data.OldPlate.Given {
			return Read{}, parking.Invalid("the webhook has the type %s and no data.license_plate_number: want the type lpr, subscribe to that one only", quote(string(w.Type)))
		}
		at, err := firstClock(
			func() (clock, error) { return r.anyTime(string(w.Data.Created), c) },
			func() (clock, error) { return r.anyTime(string(w.Data.Detected), c) },
		)
		return Read{
			Plate: Plate(firstOf(w.Data.Plate.Text, w.Data.OldPlate.Text)), Time: at.Time, AmbiguousTime: at.Ambiguous,
			Confidence: confidence(string(w.Data.Confidence), ofEither), Country: told(string(w.Data.State)),
		}, err
	})
}
