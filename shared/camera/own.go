package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// own is a stub.
var own = Format{
	Name:      "own",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format own is not supported yet")
	},
}
