// Package review is what people decide of reads whose plates may be wrong: that two reads
// are of one vehicle, that they are not, or which plate one has; and what is there to
// decide about. A correction is a version of the event that was misread, a rejection is kept
// for the near rule.
package review
