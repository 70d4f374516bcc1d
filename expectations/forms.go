package expectations

import (
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// either is a form with a short way and a long one: the long way is a mapping.
func either[T any](short, long scenario.Form[T]) scenario.Form[T] {
	return scenario.Form[T]{
		Schema: func(defs map[string]any) map[string]any {
			return map[string]any{"anyOf": []any{short.Schema(defs), long.Schema(defs)}}
		},
		Read: func(errs *scenario.Errors, name string, v scenario.Value) T {
			if v.Map != nil {
				return long.Read(errs, name, v)
			}
			return short.Read(errs, name, v)
		},
	}
}

// adapt turns what a form reads into something else.
func adapt[A, B any](form scenario.Form[A], to func(A) B) scenario.Form[B] {
	return scenario.Form[B]{
		Schema: form.Schema,
		Read: func(errs *scenario.Errors, name string, v scenario.Value) B {
			return to(form.Read(errs, name, v))
		},
	}
}

// atLeastOneKey is an object's check that it says something.
func atLeastOneKey[T any](what string) func(*scenario.Errors, *T, scenario.Value, bool) {
	return func(errs *scenario.Errors, _ *T, v scenario.Value, _ bool) {
		if len(v.Map) == 0 {
			errs.Addf(v.Pos, "%s is empty: nothing would be judged", what)
		}
	}
}
