package cli

import (
	"context"
	"runtime"
	"runtime/debug"
)

type versionResult struct {
	Version  string `json:"version"`  // of the module; "devel" outside a release
	Revision string `json:"revision"` // of the source; "" when unknown
	Modified bool   `json:"modified"` // the source differed from the revision
	Time     string `json:"time"`     // of the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (v versionResult) text(p *printer) {
	p.line("runnel %s", v.Version)
	if v.Revision != "" {
		note := ""
		if v.Modified {
			note = ", modified"
		}
		p.line("revision %s (%s%s)", v.Revision, v.Time, note)
	}
	p.line("%s %s", v.Go, v.Platform)
}

// version is set by the linker: see the Makefile.
var version string

// buildVersion reads what the linker recorded.
func buildVersion() versionResult {
	v := versionResult{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	if version != "" {
		v.Version = version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func versionSpec() *spec {
	return &spec{
		use:     "version",
		short:   "Print the version",
		long:    "Prints version, source revision and platform of this binary.",
		example: "  runnel version\n  runnel version -o json",
		run:     func(context.Context, *call) (any, error) { return buildVersion(), nil },
	}
}
