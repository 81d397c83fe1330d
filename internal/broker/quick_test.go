package broker_test
import ("testing";"time";"fmt";"log/slog";"os";"context"
 "github.com/runnel-cdc/runnel/internal/broker"
 "github.com/runnel-cdc/runnel/internal/broker/brokertest"
 "github.com/runnel-cdc/runnel/internal/position")
func TestQuick(t *testing.T){
 cfg:=brokertest.Config(t)
 if os.Getenv("V")!="" { cfg.Logger=slog.New(slog.NewTextHandler(os.Stderr,&slog.HandlerOptions{Level:slog.LevelDebug})) }
 p:=brokertest.DialConfig(t,cfg)
 ns:=brokertest.Namespace(t,p)
 topic:=brokertest.Topic(t,p,ns,"order",2)
 s:=brokertest.RegisterSchema(t,p,topic,"E",`{"type":"record","name":"E","fields":[{"name":"a","type":"string"}]}`)
 fmt.Println(s)
 fmt.Println(p.CheckNamespace(t.Context(),ns,broker.NamespacePolicy{}))
 fmt.Println(p.CheckTopic(t.Context(),topic))
 q:=broker.Partition{Topic:topic,Index:1}
 n:=uint64(0)
 for round:=0;round<4;round++{
  start:=time.Now()
  pr,tail,err:=p.Acquire(t.Context(),broker.AcquireRequest{Partition:q,Producer:"runnel-x-1",Schema:s,Replayed:position.Position{Epoch:1,LSN:n/2}},func(h string){fmt.Println("holder",h)})
  if err!=nil{t.Fatal(err)}
  fmt.Println("acquired in",time.Since(start),tail)
  count:=[]int{1,500,20000}[min(round,2)]
  done:=make(chan error,count)
  for i:=0;i<count;i++{
   n++
   st:=position.Stamp{Position:position.Position{Epoch:1,LSN:n},Ordinal:n}
   pr.Send(t.Context(),&broker.Outgoing{Key:"k",Payload:[]byte{4,'a','b'},Properties:map[string]string{"position":st.String(),"id":"x"},EventTime:time.Now(),Schema:s},func(id broker.MessageID,err error){done<-err})
  }
  pr.Flush()
  for i:=0;i<count;i++{ if err:=<-done;err!=nil{t.Fatal(err)} }
  fmt.Println("sent",time.Since(start))
  start=time.Now()
  pr.Close()
  fmt.Println("closed",time.Since(start))
 }
 r,err:=p.Read(t.Context(),q,broker.Start{})
 if err!=nil{t.Fatal(err)}
 for i:=0;;i++{ ok,err:=r.HasNext(context.Background()); if err!=nil{t.Fatal(err)}; if !ok {fmt.Println("read",i);break}; m,_:=r.Next(t.Context()); if i<3{fmt.Println(m)} }
 r.Close()
}
