package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// blueiris is a stub.
var blueiris = Format{
	Name:      "blueiris",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format blueiris is not supported yet")
	},
}
