package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Prefix begins the local names of dead-letter topics.
const Prefix = "runnel-dead-"

// Topic returns the local name of a pipeline's dead-letter topic. The name of a pipeline
// that is no name of a topic gets a digest, so that two never share one.
func Topic(pipeline string) string {
	if plain.MatchString(pipeline) && !strings.Contains(pipeline, "-partition-") { // Pulsar's own, at the end
		return Prefix + pipeline
	}
	digest := sha256.Sum256([]byte(pipeline))
	clean := stranger.ReplaceAllString(pipeline, "_")
	return Prefix + clean[:min(len(clean), 100)] + "." + hex.EncodeToString(digest[:4])
}

// IsTopic reports whether a local name is that of a dead-letter topic.
func IsTopic(local string) bool { return strings.HasPrefix(local, Prefix) }

var (
	plain    = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,100}$`)
	stranger = regexp.MustCompile(`[^a-zA-Z0-9_-]`)
)
