package soracom

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Credentials are one of the three ways to sign in: AuthKeyID and AuthKey; Email and Password; OperatorID, UserName
// and Password.
type Credentials struct {
	AuthKeyID, AuthKey   string
	Email, Password      string
	OperatorID, UserName string
}

// String keeps secrets out of whatever prints credentials.
func (c Credentials) String() string {
	return "credentials of " + cmp.Or(c.AuthKeyID, c.Email, c.UserName, "nobody")
}

// GoString is String: %#v shows no secrets either.
func (c Credentials) GoString() string { return c.String() }

// Profile is a profile file of the vendor's own command (${SORACOM_PROFILE_DIR:-$HOME/.soracom}/<name>.json).
type Profile struct {
	Credentials
	CoverageType string // "jp" or "g"
	Endpoint     string
	Sandbox      bool
}

// profileFile has the keys of the file. What else may be in it is left alone.
type profileFile struct {
	AuthKeyID      string `json:"authKeyId"`
	AuthKey        string `json:"authKey"`
	Email          string `json:"email"`
	Password       string `json:"password"`
	OperatorID     string `json:"operatorId"`
	UserName       string `json:"username"`
	CoverageType   string `json:"coverageType"`
	Endpoint       string `json:"endpoint"`
	Sandbox        bool   `json:"sandbox"`
	ProfileCommand string `json:"profileCommand"`
}

// LoadProfile reads a profile by its name ("default" where empty). It is refused where its group or others can read
// it, as the vendor's command refuses it. A profile that names a profileCommand is what that command prints.
func LoadProfile(name string, getenv func(string) string) (Profile, error) {
	name = cmp.Or(name, "default")
	if name != filepath.Base(name) || name == "." || name == ".." {
		return Profile{}, fmt.Errorf("read profile %q: not a name; it is that of a file without .json in %s", name, profileDir(getenv))
	}
	file := filepath.Join(profileDir(getenv), name+".json")
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return Profile{}, fmt.Errorf("read profile %s: no file %s; make one with `soracom configure`", name, file)
	}
	if err != nil {
		return Profile{}, fmt.Errorf("read profile %s: %w", name, err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return Profile{}, fmt.Errorf("read profile %s: %s can be read by others (mode %04o); chmod 600 it", name, file, mode)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Profile{}, fmt.Errorf("read profile %s: %w", name, err)
	}
	p, err := parseProfile(data)
	if err == nil && p.ProfileCommand != "" {
		if data, err = runProfileCommand(p.ProfileCommand); err == nil {
			p, err = parseProfile(data)
		}
	}
	if err != nil {
		return Profile{}, fmt.Errorf("read profile %s (%s): %w", name, file, err)
	}
	return p.profile(), nil
}

func profileDir(getenv func(string) string) string {
	if dir := getenv("SORACOM_PROFILE_DIR"); dir != "" {
		return dir
	}
	home := getenv("HOME")
	if home == "" {
		home, _ = os.UserHomeDir() // an empty one is named in the error that follows
	}
	return filepath.Join(home, ".soracom")
}

// parseProfile reads a profile's JSON. Its errors never quote the text: it holds secrets.
func parseProfile(data []byte) (profileFile, error) {
	var p profileFile
	var at *json.SyntaxError
	switch err := json.Unmarshal(data, &p); {
	case errors.As(err, &at):
		return profileFile{}, fmt.Errorf("not JSON: mistake at byte %d", at.Offset)
	case err != nil:
		return profileFile{}, errors.New("not a profile: an object of strings is expected")
	}
	return p, nil
}

// profileCommandFor is how long a profileCommand may take: people may have to touch a key.
const profileCommandFor = time.Minute

// runProfileCommand runs a command by the system's shell and gives what it printed. What it wrote to standard error
// goes to ours: it may ask for something.
func runProfileCommand(command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), profileCommandFor)
	defer cancel()
	args := []string{"sh", "-c", command}
	if runtime.GOOS == "windows" {
		args = []string{"cmd", "/C", command}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, &out, os.Stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run its profileCommand: %w", err)
	}
	return out.Bytes(), nil
}

func (p profileFile) profile() Profile {
	return Profile{
		Credentials: Credentials{
			AuthKeyID: p.AuthKeyID, AuthKey: p.AuthKey, Email: p.Email, Password: p.Password,
			OperatorID: p.OperatorID, UserName: p.UserName,
		},
		CoverageType: p.CoverageType, Endpoint: p.Endpoint, Sandbox: p.Sandbox,
	}
}

// endpoint is where the profile's API is.
func (p Profile) endpoint() string {
	host := "api"
	if p.Sandbox {
		host = "api-sandbox"
	}
	if p.CoverageType == "g" {
		host = "g." + host
	}
	return cmp.Or(p.Endpoint, "https://"+host+".soracom.io")
}

// baseURL checks an endpoint and ends it with /v1. Credentials go over plain HTTP to this machine alone.
func baseURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("use the carrier's endpoint: not a URL like https://api.soracom.io")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return "", fmt.Errorf("use endpoint %s: credentials go over https only, except to this machine", endpoint)
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v1") + "/v1"
	return u.String(), nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}
