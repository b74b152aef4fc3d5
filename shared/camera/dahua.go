package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// dahua is a stub.
var dahua = Format{
	Name:      "dahua",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format dahua is not supported yet")
	},
}
