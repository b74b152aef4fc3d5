package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// platerecognizer is a stub.
var platerecognizer = Format{
	Name:      "platerecognizer",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format platerecognizer is not supported yet")
	},
}
