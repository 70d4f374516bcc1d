package sim

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// storeCertificate gives the object store's certificate with that of its issuer, made once: together 3,493 bytes, which
// make a handshake as large as the article's. Nobody trusts it; the modem asks for no proof.
var storeCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	// Ed25519, because its signatures are all of one length: the handshake's size is the same every time.
	_, issuerKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the simulated issuer's key: %w", err)
	}
	issuer := certificateTemplate(1, "Simulated Issuer", 8)
	issuer.IsCA, issuer.BasicConstraintsValid = true, true
	issuerDER, err := x509.CreateCertificate(rand.Reader, issuer, issuer, issuerKey.Public(), issuerKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the simulated issuer's certificate: %w", err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the simulated store's key: %w", err)
	}
	store := certificateTemplate(2, "*.s3-ap-northeast-1.amazonaws.com", 51)
	store.DNSNames = append(store.DNSNames, "objects.region-one.example.com")
	leaf, err := x509.CreateCertificate(rand.Reader, store, issuer, key.Public(), issuerKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the simulated store's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf, issuerDER}, PrivateKey: key}, nil
})

// certificateTemplate is a certificate for a name and so many more that make it as large as it should be.
func certificateTemplate(serial int64, name string, more int) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Tollgate simulated bench"}},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2070, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames:     []string{name},
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for i := range more {
		t.DNSNames = append(t.DNSNames, fmt.Sprintf("*.store-%02d.region-one.simulated.example.com", i))
	}
	return t
}
