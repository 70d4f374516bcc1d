package sim

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// What the simulated services say. Lengths are those of the article's tables: 10 bytes over TCP, 9 and 3 over UDP.
const (
	beamReply    = "200 hello"
	harvestReply = "201"
	objectBody   = "hello"
	objectPath   = "/hello.txt"
	// bodyLater is how long after its headers a web server sends a body of its own packet.
	bodyLater = 5 * time.Millisecond
	// closeLater is how long after its last byte a server that closes first does so.
	closeLater = 30 * time.Millisecond
)

// objectFields are the header fields of the stored object, as an object store sends them: 76 and 16 bytes of
// identification among them.
var objectFields = []string{
	"x-amz-id-2: " + strings.Repeat("SimulatedObjectStore", 4)[:75] + "=",
	"x-amz-request-id: 0123456789ABCDEF",
	"Last-Modified: Sat, 07 Mar 2026 12:00:00 GMT",
	`ETag: "5d41402abc4b2a76b9719d911017c592"`,
	"Content-Type: text/plain",
	"Content-Length: 5",
	"Server: AmazonS3",
}

// respond builds a response's head.
func (s *servers) respond(status string, fields ...string) string {
	date := "Date: " + s.clock.Now().UTC().Format(http.TimeFormat)
	return "HTTP/1.1 " + status + "\r\n" + date + "\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// serveWebsite is an object store's website: it answers as long as the client stays.
func (s *servers) serveWebsite(conn net.Conn) { s.serveStore(conn, objectFields) }

// serveStore answers GETs of the one object; head and body are packets of their own.
func (s *servers) serveStore(conn net.Conn, fields []string) {
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil || s.think() != nil {
			return
		}
		head, body := s.respond("200 OK", fields...), objectBody
		if req.URL.Path != objectPath {
			body = "<html><body><h1>404 Not Found</h1></body></html>\n"
			head = s.respond("404 Not Found", "Content-Type: text/html", fmt.Sprintf("Content-Length: %d", len(body)), "Server: AmazonS3")
		}
		if _, err := io.WriteString(conn, head); err != nil || s.clock.Sleep(s.ctx, bodyLater) != nil {
			return
		}
		if _, err := io.WriteString(conn, body); err != nil {
			return
		}
	}
}

// serveObjects is the same store's own address, by TLS.
func (s *servers) serveObjects(conn net.Conn) {
	cert, err := storeCertificate()
	if err != nil {
		return
	}
	t := tls.Server(recordConn{Conn: conn, pairCipher: true}, &tls.Config{
		Certificates: []tls.Certificate{cert},
		MaxVersion:   tls.VersionTLS12, // as the modem's TLS
		Time:         s.clock.Now,
	})
	s.serveStore(t, append([]string{"Accept-Ranges: bytes"}, objectFields...))
	if t.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, conn) // the client closes first
	}
}

// once answers one request, and closes first.
func (s *servers) once(conn net.Conn, answer func(*http.Request) string) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil || s.think() != nil {
		return
	}
	if _, err := io.WriteString(conn, answer(req)); err == nil {
		_ = s.clock.Sleep(s.ctx, closeLater)
	}
}

// serveBeamHTTP is Beam's HTTP entry: it passes the request on to a web server and its answer back, and closes first.
func (s *servers) serveBeamHTTP(conn net.Conn) {
	s.once(conn, func(*http.Request) string {
		fields := append([]string{"Accept-Ranges: bytes"}, objectFields...)
		return s.respond("200 OK", append(fields, "Connection: close")...) + objectBody
	})
}

// serveBeamTCP is Beam's TCP entry: each message is passed on as a request, its answer comes back as one line. It
// closes when the device has.
func (s *servers) serveBeamTCP(conn net.Conn) { s.serveMessages(conn, beamReply+"\n") }

// serveHarvestTCP stores each message and says so.
func (s *servers) serveHarvestTCP(conn net.Conn) { s.serveMessages(conn, harvestReply) }

func (s *servers) serveMessages(conn net.Conn, reply string) {
	buf := make([]byte, 65536)
	for {
		if _, err := conn.Read(buf); err != nil || s.think() != nil {
			return
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// serveHarvestHTTP stores what is posted.
func (s *servers) serveHarvestHTTP(conn net.Conn) {
	s.once(conn, func(*http.Request) string {
		return s.respond("201 Created", "Content-Length: 0", "Connection: close")
	})
}

// serveMetadata gives the SIM's user data, here the settings of a GPS Multiunit, and closes first: again and again,
// where the device never answers its FIN.
func (s *servers) serveMetadata(conn net.Conn) {
	s.once(conn, func(req *http.Request) string {
		if req.URL.Path != "/v1/userdata" {
			return s.respond("404 Not Found", "Content-Length: 0", "Connection: close")
		}
		return s.respond("200 OK", "Content-Type: text/plain",
			fmt.Sprintf("Content-Length: %d", len(multiunitSettings)), "Connection: close") + multiunitSettings
	})
}

// multiunitSettings are 898 bytes with their head: as long as the response in the Multiunit's table.
var multiunitSettings = func() string {
	const head = len("HTTP/1.1 200 OK\r\nDate: Sat, 07 Mar 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\n" +
		"Content-Length: 763\r\nConnection: close\r\n\r\n")
	settings := `{"report":{"interval":600,"days":"mon,tue,wed,thu,fri,sat,sun","from":"00:00","to":"23:59"},` +
		`"sensors":{"gps":true,"temperature":true,"humidity":true,"acceleration":true},"comment":"`
	return settings + strings.Repeat(".", 898-head-len(settings)-2) + `"}`
}()

// recordConn sends each TLS record in a segment of its own, as the article's server and modem did, and knows no
// deadlines: those are the wall's.
type recordConn struct {
	net.Conn
	// pairCipher sends a ChangeCipherSpec together with the Finished that follows it, as the server did.
	pairCipher bool
}

const (
	recordHeader     = 5 // RFC 5246, 6.2.1
	changeCipherSpec = 20
)

// Write implements net.Conn.
func (c recordConn) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := recordLen(b[done:])
		if c.pairCipher && b[done] == changeCipherSpec && done+n < len(b) {
			n += recordLen(b[done+n:])
		}
		sent, err := c.Conn.Write(b[done : done+n])
		done += sent
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// recordLen is the length of the record at the beginning of b, as far as b holds it.
func recordLen(b []byte) int {
	if len(b) < recordHeader {
		return len(b)
	}
	return min(len(b), recordHeader+int(binary.BigEndian.Uint16(b[3:])))
}

func (recordConn) SetDeadline(time.Time) error      { return nil }
func (recordConn) SetReadDeadline(time.Time) error  { return nil }
func (recordConn) SetWriteDeadline(time.Time) error { return nil }
