package summary

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
)

// maxSearch is enough for every parameter of the list.
const maxSearch = 16 << 10

// search responds as the list does. Its parameters are in the body, so a plate is in no
// address, history or log of a proxy.
func (h handler) search(w http.ResponseWriter, r *http.Request) {
	values, err := parseSearch(r)
	if err == nil {
		err = checkQuery(values, listParams)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.listOf(w, r, values)
}

// parseSearch returns the members of a JSON object as parameters. A number is one of
// limit, bom and disputed, which may be true or false, too.
func parseSearch(r *http.Request) (url.Values, error) {
	const want = `want a JSON object such as {"plate":"KA01AB1234","limit":10}`
	body, err := readBody(r)
	if err != nil {
		return nil, parking.Invalid("read the request: %v", err)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, parking.Invalid("%s, each member once", want)
	}
	values := make(url.Values, len(members))
	for name, value := range members {
		switch kind := value.Kind(); {
		case kind == '0' && slices.Contains([]string{limitParam.name, bomParam.name, disputedParam.name}, name), (kind == 't' || kind == 'f') && name == disputedParam.name:
			values.Set(name, value.String())
		case kind == '"':
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				return nil, parking.Invalid("%s: %v", want, err)
			}
			values.Set(name, text)
		default:
			return nil, parking.Invalid("parameter %.40q: want a text, or a number if it is limit, bom or disputed, which may be true or false", name)
		}
	}
	return values, nil
}
