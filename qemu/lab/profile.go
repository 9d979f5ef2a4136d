package main

import (
	"context"
	"errors"
)

func profile(ctx context.Context, o *options) error { return errors.New("not yet") }
