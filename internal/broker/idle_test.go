package broker_test
import ("testing";"time";"syscall";"fmt"
"github.com/runnel-cdc/runnel/internal/broker"
"github.com/runnel-cdc/runnel/internal/broker/brokertest")
func TestIdle(t *testing.T){
 for _,d:=range []time.Duration{time.Millisecond,2*time.Millisecond,5*time.Millisecond}{
	cfg:=brokertest.Config(t); cfg.BatchDelay=d
	p:=brokertest.DialConfig(t,cfg)
	topic := brokertest.Topic(t, p, brokertest.Namespace(t, p), "bench", 20)
	s := brokertest.RegisterSchema(t, p, topic, "Event", `{"type":"record","name":"Event","fields":[{"name":"a","type":"string"}]}`)
	for i:=range 20 { if _,_,err:=p.Acquire(t.Context(),broker.AcquireRequest{Partition:broker.Partition{Topic:topic,Index:i},Producer:"x",Schema:s},nil);err!=nil{t.Fatal(err)} }
	cpu:=func() time.Duration{ var r syscall.Rusage; syscall.Getrusage(0,&r); return time.Duration(r.Utime.Nano()+r.Stime.Nano())}
	a:=cpu(); time.Sleep(5*time.Second); fmt.Println(d, "20 producers idle: cpu",(cpu()-a)/5,"per s")
	p.Close()
 }
}
