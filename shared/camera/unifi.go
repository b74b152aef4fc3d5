package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// unifi is a stub.
var unifi = Format{
	Name:      "unifi",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format unifi is not supported yet")
	},
}
