package soracom

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// writeProfile makes a folder with one profile in it.
func writeProfile(t *testing.T, name, text string, mode os.FileMode) (getenv func(string) string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), mode))
	return func(key string) string {
		if key == "SORACOM_PROFILE_DIR" {
			return dir
		}
		return ""
	}
}

func TestProfile(t *testing.T) {
	getenv := writeProfile(t, "default", `{"sandbox":false,"coverageType":"g","authKeyId":"keyId-1","authKey":"secret-1","registerPaymentMethod":true}`, 0o600)
	p, err := LoadProfile("", getenv)
	require.NoError(t, err)
	require.Equal(t, Profile{Credentials: Credentials{AuthKeyID: "keyId-1", AuthKey: "secret-1"}, CoverageType: "g"}, p)

	getenv = writeProfile(t, "sam", `{"operatorId":"OP1","username":"u","password":"p","endpoint":"https://example.com","email":null}`, 0o400)
	p, err = LoadProfile("sam", getenv)
	require.NoError(t, err)
	require.Equal(t, Credentials{OperatorID: "OP1", UserName: "u", Password: "p"}, p.Credentials)
	require.Equal(t, "https://example.com", p.endpoint())

	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, ".soracom"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".soracom", "x.json"), []byte(`{"email":"a@example.com"}`), 0o600))
	p, err = LoadProfile("x", func(key string) string { return map[string]string{"HOME": home}[key] })
	require.NoError(t, err)
	require.Equal(t, "a@example.com", p.Email)
}

func TestProfileRefused(t *testing.T) {
	getenv := writeProfile(t, "default", `{}`, 0o600)
	for _, name := range []string{"../default", "a/b", "..", "."} {
		_, err := LoadProfile(name, getenv)
		require.ErrorContains(t, err, "not a name", name)
	}
	_, err := LoadProfile("other", getenv)
	require.ErrorContains(t, err, "make one with `soracom configure`")

	for text, problem := range map[string]string{
		`{"authKey":"hush"`: "not JSON: mistake at byte 17", `{"authKey":{"hush":1}}`: "not a profile", `hush`: "not JSON", `["hush"]`: "not a profile",
	} {
		_, err = LoadProfile("default", writeProfile(t, "default", text, 0o600))
		require.ErrorContains(t, err, problem)
		require.NotContains(t, err.Error(), "hush", "what the file holds is secret")
	}
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits to refuse")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o610} {
		getenv := writeProfile(t, "default", `{}`, 0o600)
		require.NoError(t, os.Chmod(filepath.Join(getenv("SORACOM_PROFILE_DIR"), "default.json"), mode))
		_, err := LoadProfile("default", getenv)
		require.ErrorContains(t, err, "can be read by others")
		require.ErrorContains(t, err, "chmod 600")
	}
}

func TestProfileCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands are written for a Unix shell")
	}
	p, err := LoadProfile("default", writeProfile(t, "default", `{"profileCommand":"echo '{\"authKeyId\":\"k\",\"authKey\":\"s\"}'"}`, 0o600))
	require.NoError(t, err)
	require.Equal(t, Credentials{AuthKeyID: "k", AuthKey: "s"}, p.Credentials)
	_, err = LoadProfile("default", writeProfile(t, "default", `{"profileCommand":"exit 3"}`, 0o600))
	require.ErrorContains(t, err, "run its profileCommand: exit status 3")
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		p    Profile
		want string
	}{
		{Profile{}, "https://api.soracom.io"},
		{Profile{CoverageType: "jp"}, "https://api.soracom.io"},
		{Profile{CoverageType: "g"}, "https://g.api.soracom.io"},
		{Profile{Sandbox: true}, "https://api-sandbox.soracom.io"},
		{Profile{Sandbox: true, CoverageType: "g"}, "https://g.api-sandbox.soracom.io"},
	} {
		require.Equal(t, c.want, c.p.endpoint())
	}
	for endpoint, want := range map[string]string{
		"https://api.soracom.io": "https://api.soracom.io/v1", "https://api.soracom.io/": "https://api.soracom.io/v1",
		"https://api.soracom.io/v1": "https://api.soracom.io/v1", "https://api.soracom.io/v1/": "https://api.soracom.io/v1",
		"http://127.0.0.1:8080": "http://127.0.0.1:8080/v1", "http://[::1]:8080/x": "http://[::1]:8080/x/v1", "http://localhost:1": "http://localhost:1/v1",
	} {
		got, err := baseURL(endpoint)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, endpoint := range []string{"http://api.soracom.io", "http://127.0.0.1.example.com", "ftp://127.0.0.1", "api.soracom.io", "", "https://", "https://u:p@api.soracom.io", "https://a?b=c", "https://a#b", ":"} {
		_, err := baseURL(endpoint)
		require.Error(t, err, endpoint)
		require.NotContains(t, err.Error(), "u:p")
	}
}

// TestEndpointOrder: what is said in the bench goes before the environment, and that before the profile.
func TestEndpointOrder(t *testing.T) {
	getenv := writeProfile(t, "default", `{"authKeyId":"k","authKey":"s","endpoint":"https://profile.example"}`, 0o600)
	env := ""
	o := Options{SIM: imsi, Clock: &leapClock{}, Getenv: func(key string) string {
		if key == "SORACOM_ENDPOINT" {
			return env
		}
		return getenv(key)
	}}
	for _, step := range []struct{ endpoint, env, want string }{
		{"", "", "https://profile.example/v1"}, {"", "https://env.example", "https://env.example/v1"}, {"https://bench.example", "https://env.example", "https://bench.example/v1"},
	} {
		o.Endpoint, env = step.endpoint, step.env
		c, err := New(o)
		require.NoError(t, err)
		require.Equal(t, step.want, c.base)
		require.NoError(t, c.Close())
	}
}
