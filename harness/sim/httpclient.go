package sim

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxBody = 1 << 20
	// splitGap is between the two packets of a request.
	splitGap = 5 * time.Millisecond
)

// request builds the pieces of a GET, each a packet of its own, for a path and the Host field's value.
type request func(path, host string) []string

// wioRequest is the Wio LTE's request, as long as the tables say, in the two packets that were seen.
func wioRequest(path, host string) []string {
	return []string{
		"GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n",
		"Accept: */*\r\nUser-Agent: QUECTEL_MODULE\r\nConnection: Keep-Alive\r\n\r\n",
	}
}

// response is what came of a GET.
type response struct {
	status int
	body   []byte
}

// httpGet is the modem's own HTTP client. Where the server leaves the connection open the modem closes it, and with
// late not 0 sends an RST so long afterwards; where the server closes first it closes too, and that is all.
func (m *modem) httpGet(ctx context.Context, rawURL string, build request, late time.Duration) (response, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return response{}, fmt.Errorf("%q is no http or https URL", rawURL)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	peer, err := m.resolve(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return response{}, err
	}
	secure := u.Scheme == "https"
	sock, err := m.connect(ctx, peer, traits{resetAfter: late, doubleAck: secure && late > 0})
	if err != nil {
		return response{}, err
	}
	defer sock.release()
	var res response
	if secure {
		res, err = m.getSecurely(ctx, sock, u, build)
	} else {
		res, err = m.get(ctx, sock, u, build)
	}
	if err != nil {
		sock.abort()
		return response{}, err
	}
	if _, err := sock.finish(ctx); err != nil {
		return response{}, fmt.Errorf("close: %w", err)
	}
	return res, nil
}

// getSecurely does the same within TLS 1.2, which is all that the modem knows; it asks the server for no proof and does
// not name it: the modem's SNI is off unless set, and the handshake seen has no room for it.
func (m *modem) getSecurely(ctx context.Context, sock *socket, u *url.URL, build request) (response, error) {
	t := tls.Client(recordConn{Conn: sock}, &tls.Config{
		InsecureSkipVerify: true,
		MaxVersion:         tls.VersionTLS12,

		SessionTicketsDisabled: true,
		CipherSuites:           []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		CurvePreferences:       []tls.CurveID{tls.CurveP256},
		Time:                   m.clock.Now,
	})
	if err := t.HandshakeContext(ctx); err != nil {
		return response{}, fmt.Errorf("TLS handshake: %w", err)
	}
	res, err := m.get(ctx, t, u, build)
	if err != nil {
		return response{}, err
	}
	if err := t.CloseWrite(); err != nil {
		return response{}, fmt.Errorf("TLS close: %w", err)
	}
	_, _ = io.Copy(io.Discard, t) // until the server's own alert
	return res, nil
}

// get sends a request and reads its response, and the end of the stream where the server announced that it closes.
func (m *modem) get(ctx context.Context, conn io.ReadWriter, u *url.URL, build request) (response, error) {
	path := u.RequestURI()
	for i, piece := range build(path, u.Host) {
		if i > 0 {
			if err := m.clock.Sleep(ctx, splitGap); err != nil {
				return response{}, err
			}
		}
		if _, err := io.WriteString(conn, piece); err != nil {
			return response{}, fmt.Errorf("send the request: %w", err)
		}
	}
	in := bufio.NewReader(conn)
	r, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
	if err != nil {
		return response{}, fmt.Errorf("read the response: %w", err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return response{}, fmt.Errorf("read the body: %w", err)
	}
	if r.Close || strings.EqualFold(r.Header.Get("Connection"), "close") {
		_, _ = io.Copy(io.Discard, in)
	}
	return response{status: r.StatusCode, body: body}, nil
}

// receive waits for what the peer sends, at most so long.
func (s *socket) receive(ctx context.Context, wait time.Duration) ([]byte, error) {
	waiting, cancel := s.clock.WithTimeout(ctx, wait)
	defer cancel()
	type result struct {
		b   []byte
		err error
	}
	got := make(chan result, 1)
	go func() {
		buf := make([]byte, socketPayload)
		n, err := s.Read(buf)
		got <- result{buf[:n], err}
	}()
	select {
	case r := <-got:
		return r.b, r.err
	case <-waiting.Done():
		_ = s.CloseRead() // ends the Read
		<-got
		return nil, context.Cause(waiting)
	}
}
