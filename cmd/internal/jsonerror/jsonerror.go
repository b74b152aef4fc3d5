// Package jsonerror explains errors of encoding/json without types of Go.
package jsonerror

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
)

// Explain returns an error of encoding/json with the field's name in the JSON.
func Explain(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		text := "a JSON " + wrong.Value + ", want " + wanted(wrong.Type)
		if wrong.Field != "" {
			text = wrong.Field + ": " + text // of a map it is the map that is named
		}
		return errors.New(text)
	}
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("it is empty: want JSON")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends in the middle of its JSON")
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return errors.New("it is not JSON: " + err.Error())
	}
	return err
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number from 0"
	default:
		return "a number"
	}
}
