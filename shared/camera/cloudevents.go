package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// cloudevents is a stub.
var cloudevents = Format{
	Name:      "cloudevents",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format cloudevents is not supported yet")
	},
}
