package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// hikvision is a stub.
var hikvision = Format{
	Name:      "hikvision",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format hikvision is not supported yet")
	},
}
