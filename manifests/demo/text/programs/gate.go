// Package gate checks that what went in at the upper gate came out at the lower one.
package gate

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Ledger counts what became of the records of one run.
type Ledger struct {
	In       int
	Out      int
	Rejected map[string]int // by reason
}

// ErrUnbalanced says that records have appeared or vanished.
var ErrUnbalanced = errors.New("the ledger does not balance")

// Reject notes one record that was turned back.
func (l *Ledger) Reject(reason string) {
	if l.Rejected == nil {
		l.Rejected = make(map[string]int)
	}
	l.Rejected[reason]++
}

// Check returns nil if every record has exactly one outcome.
func (l *Ledger) Check() error {
	rejected := 0
	for _, n := range l.Rejected {
		rejected += n
	}
	if l.In == l.Out+rejected {
		return nil
	}
	return fmt.Errorf("%w: %d in, %d out, %d rejected (%s)", ErrUnbalanced, l.In, l.Out, rejected, l.reasons())
}

func (l *Ledger) reasons() string {
	var parts []string
	for reason, n := range l.Rejected {
		parts = append(parts, fmt.Sprintf("%s %d", reason, n))
	}
	sort.Strings(parts) // maps have no order, messages should
	return strings.Join(parts, ", ")
}
