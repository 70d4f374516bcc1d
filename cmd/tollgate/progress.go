package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// longFile is from how many bytes on reading a file takes long enough to be shown.
const longFile = 256 << 20

// progress shows on a terminal how far a long file has been read. done takes the line away.
func (a *app) progress(in io.Reader, size int64) (out io.Reader, done func()) {
	if size < longFile || !isTerminal(a.err) {
		return in, func() {}
	}
	p := mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))
	bar := p.AddBar(size, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.CountersKibiByte("% .1f of % .1f ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)))
	return bar.ProxyReader(in), func() {
		bar.Abort(true)
		p.Wait()
	}
}
