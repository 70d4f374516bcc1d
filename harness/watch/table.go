package watch

// table is a map with a bound whose values have places of their own, so that one is found once for each packet.
type table[K comparable, V any] struct {
	bound  int
	places map[K]int
	keys   []K
	values []V
	used   []bool
	free   []int
}

func newTable[K comparable, V any](bound int) table[K, V] {
	return table[K, V]{bound: bound, places: map[K]int{}}
}

// find gives a key's place and value; nil where it is not there. The pointer is good until the next add.
func (t *table[K, V]) find(k K) (int, *V) {
	i, ok := t.places[k]
	if !ok {
		return -1, nil
	}
	return i, &t.values[i]
}

func (t *table[K, V]) at(i int) *V { return &t.values[i] }

// add puts a key that is not there into the table; -1 and nil where that is full.
func (t *table[K, V]) add(k K, v V) (int, *V) {
	var i int
	switch {
	case len(t.free) > 0:
		i = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
		t.keys[i], t.values[i], t.used[i] = k, v, true
	case len(t.keys) < t.bound:
		i = len(t.keys)
		t.keys, t.values, t.used = append(t.keys, k), append(t.values, v), append(t.used, true)
	default:
		return -1, nil
	}
	t.places[k] = i
	return i, &t.values[i]
}

// each shows every place with its value; those for which keep says no are taken out.
func (t *table[K, V]) each(keep func(int, *V) bool) {
	for i := range t.keys {
		if !t.used[i] || keep(i, &t.values[i]) {
			continue
		}
		delete(t.places, t.keys[i])
		t.used[i] = false
		t.free = append(t.free, i)
	}
}

func (t *table[K, V]) size() int { return len(t.places) }
