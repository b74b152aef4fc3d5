package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// milesight is a stub.
var milesight = Format{
	Name:      "milesight",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format milesight is not supported yet")
	},
}
