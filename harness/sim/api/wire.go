package api

import (
	"fmt"
	"strconv"
	"time"
)

// The forms of the API's answers, field for field as the definition's schemas of the same names have them. A field
// that the definition says is left out where it does not apply is a pointer or has omitempty.

type sessionStatus struct {
	Online      bool     `json:"online"`
	SessionID   string   `json:"sessionId,omitempty"`
	UEIPAddress string   `json:"ueIpAddress,omitempty"`
	IMEI        string   `json:"imei,omitempty"`
	IMSI        string   `json:"imsi,omitempty"`
	DNSServers  []string `json:"dnsServers,omitempty"`
	Updated     int64    `json:"lastUpdatedAt"`
	Plan        string   `json:"subscription,omitempty"`
}

type previousSession struct {
	SessionID   string   `json:"sessionId"`
	UEIPAddress string   `json:"ueIpAddress,omitempty"`
	IMEI        string   `json:"imei,omitempty"`
	IMSI        string   `json:"imsi"`
	DNSServers  []string `json:"dnsServers,omitempty"`
	Created     int64    `json:"createdTime"`
	Deleted     int64    `json:"deletedTime"`
	Plan        string   `json:"subscription,omitempty"`
}

// common is what the schemas Subscriber and Sim share.
type common struct {
	SimID           string            `json:"simId"`
	OperatorID      string            `json:"operatorId"`
	Status          Status            `json:"status"`
	SpeedClass      string            `json:"speedClass"`
	GroupID         string            `json:"groupId,omitempty"`
	Tags            map[string]string `json:"tags"`
	Created         int64             `json:"createdTime"`
	Modified        int64             `json:"lastModifiedTime"`
	SessionStatus   sessionStatus     `json:"sessionStatus"`
	PreviousSession *previousSession  `json:"previousSession,omitempty"`
}

type subscriber struct {
	common
	IMSI       string `json:"imsi"`
	ICCID      string `json:"iccid,omitempty"`
	MSISDN     string `json:"msisdn,omitempty"`
	IPAddress  string `json:"ipAddress,omitempty"`
	APN        string `json:"apn,omitempty"`
	Plan       string `json:"subscription"`
	ModuleType string `json:"moduleType"`
	CreatedAt  int64  `json:"createdAt"`
	ModifiedAt int64  `json:"lastModifiedAt"`
}

type simProfile struct {
	ICCID       string                      `json:"iccid"`
	PrimaryIMSI string                      `json:"primaryImsi"`
	OTA         bool                        `json:"otaSupported"`
	Subscribers map[string]simSubscriptions `json:"subscribers"`
}

type simSubscriptions struct {
	IMSI   string `json:"imsi"`
	MSISDN string `json:"msisdn,omitempty"`
	Plan   string `json:"subscription"`
}

type sim struct {
	common
	ActiveProfile string                `json:"activeProfileId"`
	Type          string                `json:"type"`
	ModuleType    string                `json:"moduleType"`
	Profiles      map[string]simProfile `json:"profiles"`
}

type sessionEvent struct {
	Event       EventKind `json:"event"`
	Time        int64     `json:"time"` // milliseconds
	CreatedTime string    `json:"createdTime"`
	SessionID   string    `json:"sessionId"`
	SimID       string    `json:"simId"`
	IMSI        string    `json:"imsi"`
	IMEI        string    `json:"imei,omitempty"`
	OperatorID  string    `json:"operatorId"`
	UEIPAddress string    `json:"ueIpAddress,omitempty"`
	DNS0        string    `json:"dns0,omitempty"`
	DNS1        string    `json:"dns1,omitempty"`
	APN         string    `json:"apn,omitempty"`
	Plan        string    `json:"subscription,omitempty"`
}

type airStats struct {
	Date     string                 `json:"date"`
	UnixTime int64                  `json:"unixtime"` // seconds
	Traffic  map[string]dataTraffic `json:"dataTrafficStatsMap"`
}

type dataTraffic struct {
	UpBytes     uint64 `json:"uploadByteSizeTotal"`
	DownBytes   uint64 `json:"downloadByteSizeTotal"`
	UpPackets   uint64 `json:"uploadPacketSizeTotal"`
	DownPackets uint64 `json:"downloadPacketSizeTotal"`
}

type authRequest struct {
	AuthKeyID    string `json:"authKeyId"`
	AuthKey      string `json:"authKey"`
	Email        string `json:"email"`
	OperatorID   string `json:"operatorId"`
	UserName     string `json:"userName"`
	Password     string `json:"password"`
	TokenTimeout *int64 `json:"tokenTimeoutSeconds"`
}

type authResponse struct {
	APIKey     string `json:"apiKey"`
	OperatorID string `json:"operatorId"`
	Token      string `json:"token"`
	UserName   string `json:"userName,omitempty"`
}

type tokenRequest struct {
	TokenTimeout *int64 `json:"tokenTimeoutSeconds"`
}

type tokenResponse struct {
	Token string `json:"token"`
}

type speedClassRequest struct {
	SpeedClass string `json:"speedClass"`
}

type pingRequest struct {
	Count   *int `json:"numberOfPingRequests"`
	Timeout *int `json:"timeoutSeconds"` // seconds
}

type pingResponse struct {
	Success bool   `json:"success"`
	RTT     string `json:"rtt"`
	Stat    string `json:"stat"`
}

type captureRequest struct {
	Duration int    `json:"duration"` // seconds
	Prefix   string `json:"prefix"`
}

type captureText struct {
	ID       string       `json:"sessionId"`
	State    captureState `json:"status"`
	Duration int          `json:"duration"` // seconds
	Prefix   string       `json:"prefix"`
	Created  string       `json:"createdTime"`
	Started  string       `json:"startedTime,omitempty"`
	Ended    string       `json:"endedTime,omitempty"`
	Reason   string       `json:"failedReason,omitempty"`
	URL      string       `json:"url,omitempty"`
}

// flatError is the form that the service's own documents show; nestedError is the definition's APICallError.
type flatError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type nestedError struct {
	Status int       `json:"httpStatus"`
	Error  flatError `json:"errorMessage"`
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func commonOf(in Info, operator string) common {
	out := common{
		SimID: in.ID, OperatorID: operator, Status: in.Status, SpeedClass: in.SpeedClass, GroupID: in.GroupID,
		Tags: map[string]string{"name": in.Name}, Created: millis(in.Created), Modified: millis(in.Modified),
	}
	out.SessionStatus = sessionStatus{Updated: millis(in.Modified)}
	if s := in.Session; s != nil {
		out.SessionStatus = sessionStatus{
			Online: true, SessionID: s.ID, UEIPAddress: address(s.Address), IMEI: s.IMEI, IMSI: in.IMSI,
			DNSServers: dnsServers(s), Updated: millis(s.Updated), Plan: in.Subscription,
		}
	}
	if s := in.Previous; s != nil {
		if !out.SessionStatus.Online {
			out.SessionStatus.Updated = millis(s.Deleted)
		}
		out.PreviousSession = &previousSession{
			SessionID: s.ID, UEIPAddress: address(s.Address), IMEI: s.IMEI, IMSI: in.IMSI, DNSServers: dnsServers(s),
			Created: millis(s.Created), Deleted: millis(s.Deleted), Plan: in.Subscription,
		}
	}
	return out
}

func dnsServers(s *Session) []string {
	var out []string
	for _, a := range s.DNS {
		out = append(out, address(a))
	}
	return out
}

func subscriberOf(in Info, operator string) subscriber {
	out := subscriber{
		common: commonOf(in, operator), IMSI: in.IMSI, ICCID: in.ICCID, MSISDN: in.MSISDN, Plan: in.Subscription,
		ModuleType: "nano", CreatedAt: millis(in.Created), ModifiedAt: millis(in.Modified),
	}
	if s := in.Session; s != nil {
		out.IPAddress, out.APN = address(s.Address), s.APN
	}
	return out
}

func simOf(in Info, operator string) sim {
	profile := simProfile{ICCID: in.ICCID, PrimaryIMSI: in.IMSI, Subscribers: map[string]simSubscriptions{
		in.IMSI: {IMSI: in.IMSI, MSISDN: in.MSISDN, Plan: in.Subscription},
	}}
	return sim{
		common: commonOf(in, operator), ActiveProfile: in.ICCID, Type: "uicc", ModuleType: "nano",
		Profiles: map[string]simProfile{in.ICCID: profile},
	}
}

func eventOf(e Event, in Info, operator string) sessionEvent {
	out := sessionEvent{
		Event: e.Kind, Time: millis(e.Time), CreatedTime: strconv.FormatInt(millis(e.Session.Created), 10),
		SessionID: e.Session.ID, SimID: in.ID, IMSI: in.IMSI, IMEI: e.Session.IMEI, OperatorID: operator,
		UEIPAddress: address(e.Session.Address), APN: e.Session.APN, Plan: in.Subscription,
	}
	if dns := dnsServers(&e.Session); len(dns) > 0 {
		out.DNS0 = dns[0]
		if len(dns) > 1 {
			out.DNS1 = dns[1]
		}
	}
	return out
}

func pingOf(r PingResult) pingResponse {
	lost := 0
	if r.Sent > 0 {
		lost = 100 * (r.Sent - r.Received) / r.Sent
	}
	out := pingResponse{
		Success: r.Received > 0,
		Stat:    fmt.Sprintf("%d packets transmitted, %d received, %d%% packet loss", r.Sent, r.Received, lost),
	}
	if r.Received > 0 {
		out.RTT = fmt.Sprintf("%.3f ms", r.RTT.Seconds()*1000)
	}
	return out
}
