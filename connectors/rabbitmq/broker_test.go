package rabbitmq

import "testing"

// Tests that change a setting of the whole broker take turns on one of their own.
func TestBrokerSettings(t *testing.T) { //nolint:tparallel // see above
	t.Parallel()
	ownNode(t)
	t.Run("OutageWhileNothingCanBePublished", testOutageWhileNothingCanBePublished)
	t.Run("FrameMax", testFrameMax)
	t.Run("FrameMaxShrinks", testFrameMaxShrinks)
	t.Run("StopDuringAnAlarm", testStopDuringAnAlarm)
}
