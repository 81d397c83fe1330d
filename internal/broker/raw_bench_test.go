package broker_test
import ("testing";"time";"strconv";"sync";"os"
"github.com/apache/pulsar-client-go/pulsar"
"github.com/apache/pulsar-client-go/pulsar/log"
"github.com/prometheus/client_golang/prometheus"
"github.com/runnel-cdc/runnel/internal/broker/brokertest"
"github.com/runnel-cdc/runnel/internal/position")
func BenchmarkRaw(b *testing.B){
	p := brokertest.Dial(b)
	topic := brokertest.Topic(b, p, brokertest.Namespace(b, p), "bench", 1)
	s := brokertest.RegisterSchema(b, p, topic, "Event", `{"type":"record","name":"Event","fields":[{"name":"a","type":"string"}]}`)
	c,err:=pulsar.NewClient(pulsar.ClientOptions{URL:os.Getenv("RUNNEL_PULSAR_URL"),Logger:log.DefaultNopLogger(),MetricsRegisterer:prometheus.NewRegistry(),MemoryLimitBytes:-1})
	if err!=nil{b.Fatal(err)}
	defer c.Close()
	mb,_:=strconv.Atoi(os.Getenv("MB")); if mb==0{mb=128<<10}
	q,err:=c.CreateProducer(pulsar.ProducerOptions{Topic:topic+"-partition-0",SendTimeout:-1,MaxPendingMessages:16384,BatchingMaxMessages:4000,BatchingMaxSize:uint(mb),BatchingMaxPublishDelay:2*time.Millisecond,Schema:pulsar.NewAvroSchema(s.JSON,nil)})
	if err!=nil{b.Fatal(err)}
	payload:=make([]byte,250)
	var wg sync.WaitGroup
	wg.Add(b.N)
	b.ResetTimer()
	for n:=range b.N{
		q.SendAsync(b.Context(),&pulsar.ProducerMessage{Payload:payload,Key:strconv.Itoa(n%1000),EventTime:time.Now(),Properties:map[string]string{position.Property: nth(uint64(n)).String(), "id": "01890a5d-ac96-774b-bcce-b302099a8057", "type": "OrderPlaced"}},func(pulsar.MessageID,*pulsar.ProducerMessage,error){wg.Done()})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	q.Close()
}
