package devstack

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/runnel-cdc/runnel/deploy"
)

// clusterName is that of standalone: nothing is to differ but the number of processes.
const clusterName = "standalone"

// zooKeeperSettings: on loopback, and with a password (zooKeeperLogin). A tick is half
// of the shortest session that it grants.
func (c *Cluster) zooKeeperSettings(port int) string {
	return fmt.Sprintf(`tickTime=%d
dataDir=%s
clientPort=%d
clientPortAddress=127.0.0.1
admin.enableServer=false
# Processes are killed, not the machine.
forceSync=no
`, min(2*time.Second, c.o.Session/4).Milliseconds(), filepath.Join(c.dir(), "zookeeper"), port)
}

// bookieSettings: small, on loopback, and for data that may be lost.
func (c *Cluster) bookieSettings(metadata, dir string, port int) string {
	return fmt.Sprintf(`bookiePort=%d
metadataServiceUri=metadata-store:%s
zkTimeout=%d
journalDirectory=%s
ledgerDirectories=%s
advertisedAddress=127.0.0.1
allowLoopback=true
listeningInterface=lo
# As in production, but for the disk: entries reach the page cache before they are
# acknowledged, and survive the process.
journalSyncData=false
# Within a bookie it ends the bookie when its session with ZooKeeper is lost, until
# somebody starts it again; by itself the bookie registers anew.
autoRecoveryDaemonEnabled=false
useV2WireProtocol=true
nettyMaxFrameSizeBytes=5253120
ledgerStorageClass=org.apache.bookkeeper.bookie.storage.ldb.DbLedgerStorage
# A nearly full disk would make it read-only.
diskUsageThreshold=0.99
diskUsageWarnThreshold=0.98
# Small.
journalPreAllocSizeMB=4
journalMaxSizeMB=64
dbStorage_writeCacheMaxSizeMb=32
dbStorage_readAheadCacheMaxSizeMb=16
dbStorage_rocksDB_blockCacheSize=8388608
dbStorage_rocksDB_writeBufferSizeMB=8
numReadWorkerThreads=2
numHighPriorityWorkerThreads=2
numJournalCallbackThreads=1
`, port, metadata, c.o.Session.Milliseconds(), filepath.Join(dir, "journal"), filepath.Join(dir, "ledgers"))
}

// brokerSettings are standalone's, with several bookies and a metadata service elsewhere.
func (c *Cluster) brokerSettings(metadata string, port, web int) string {
	return deploy.PulsarStandalone + fmt.Sprintf(`
# The cluster's own: of two equal keys the last one wins.
clusterName=%s
metadataStoreUrl=%[2]s
configurationMetadataStoreUrl=%[2]s
metadataStoreSessionTimeoutMillis=%d
managedLedgerDefaultEnsembleSize=%[4]d
managedLedgerDefaultWriteQuorum=%[4]d
managedLedgerDefaultAckQuorum=%d
# A bookie that failed five times in a minute is not asked for half an hour otherwise, and without a
# spare one nothing can be written until then.
bookkeeperClientHealthCheckQuarantineTimeInSeconds=10
brokerServicePort=%d
webServicePort=%d
`, clusterName, metadata, c.o.Session.Milliseconds(), c.o.Ensemble, c.o.Ack, port, web)
}
