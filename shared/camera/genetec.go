package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// genetec is a stub.
var genetec = Format{
	Name:      "genetec",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format genetec is not supported yet")
	},
}
