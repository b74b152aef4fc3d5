package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// axis is a stub.
var axis = Format{
	Name:      "axis",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format axis is not supported yet")
	},
}
