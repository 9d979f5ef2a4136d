//go:build tamago

// Lab is a kernel whose only task is a web server: net/http on the kernel's own network
// stack. Each request runs a program in a process of its own, under the exit design that the
// request names, and the page shows the exits as they happen. `make lab` boots it.
package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"grim/kernel"
	"grim/proc"
	"grim/proc/exit"
)

// page is the page, with marks where the texts go that need no JavaScript.
//
//go:embed page.html
var page string

const (
	filePages  = 16               // of the file that a worker writes to through a mapping
	keptRuns   = 40               // runs that the page shows
	maxConns   = 32               // connections at a time
	maxImage   = 8 << 20          // bytes of a program that a request brings
	maxOutput  = 4096             // bytes that are kept of what a program writes
	runLimit   = 10 * time.Second // after it a program is killed
	redrawTime = 50 * time.Millisecond
	nobody     = 65534
)

// run is one process that was started, and what came of it.
type run struct {
	id, mb, threads int
	design          *exit.Design
	delay           time.Duration // of the pager, for each page
	proc            *kernel.Process
	status          string        // "": it has not ended
	slowest         time.Duration // the longest answer to others while this or another process ended
	output          string        // the first bytes of it
}

// lab is the server.
type lab struct {
	k       *kernel.Kernel
	exiting atomic.Int64 // two for each process that ends: it is not gone, its memory is not free

	mu   sync.Mutex
	runs []*run // [mu] the last ones, with all that is in them
	next int    // [mu]
}

func main() {
	k := kernel.Boot()
	l := &lab{k: k, next: 1}
	k.OnExitStep(l.count)
	port, err := k.Listen("tcp", ":80")
	if err != nil {
		fmt.Println("lab:", err)
		k.PowerOff(1)
	}
	fmt.Println("lab: the web server answers on port 80")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", l.front)
	mux.HandleFunc("GET /run/{id}", l.show)
	mux.HandleFunc("POST /run", l.workers)
	mux.HandleFunc("POST /exec", l.exec)
	mux.HandleFunc("GET /events", l.events)
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "pong") })
	srv := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	fmt.Println("lab:", srv.Serve(netutil.LimitListener(port, maxConns)))
	k.PowerOff(1)
}

// slowFile is the pager of the file that a worker writes to.
type slowFile struct {
	kernel.MemoryPages
	delay time.Duration
}

func (f *slowFile) PageOut(index int64, page []byte) error {
	time.Sleep(f.delay)
	return f.MemoryPages.PageOut(index, page)
}

// workers runs processes as the form describes them, all at the same moment.
func (l *lab) workers(w http.ResponseWriter, r *http.Request) {
	_, free := l.k.Memory()
	number := map[string]int{"mb": int(free>>20) * 9 / 10, "threads": 64, "delay": 200, "copies": 8}
	d := exit.Named(r.FormValue("design"))
	for field, most := range number {
		n, err := strconv.Atoi(r.FormValue(field))
		if err != nil || n < 0 || n > most || d == nil {
			http.Error(w, fmt.Sprintf("%s is a number from 0 to %d, design one of %v", field, most, exit.Names()), http.StatusBadRequest)
			return
		}
		number[field] = n
	}
	var group sync.WaitGroup
	first := 0
	for range max(number["copies"], 1) {
		one := l.add(&run{design: d, mb: number["mb"] / max(number["copies"], 1), threads: number["threads"], delay: time.Duration(number["delay"]) * time.Millisecond})
		first = cmp.Or(first, one.id)
		group.Go(func() {
			file := fmt.Sprintf("/tmp/run%d", one.id)
			if err := l.k.Serve(file, filePages*4096, 0o666, &slowFile{delay: one.delay}); err != nil {
				l.end(one, err.Error(), 0, nil)
				return
			}
			defer func() { _ = l.k.Remove(file) }()
			l.do(one, kernel.Program{Path: "/bin/worker", Args: []string{fmt.Sprint(one.mb), fmt.Sprint(one.threads), file, fmt.Sprint(filePages)}})
		})
	}
	group.Wait()
	http.Redirect(w, r, fmt.Sprintf("/run/%d", first), http.StatusSeeOther)
}

// exec runs the program that the request brings, as a user without rights.
func (l *lab) exec(w http.ResponseWriter, r *http.Request) {
	var image bytes.Buffer
	if _, err := image.ReadFrom(http.MaxBytesReader(w, r.Body, maxImage)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	one := l.add(&run{design: exit.Named(r.URL.Query().Get("design"))})
	l.do(one, kernel.Program{Image: image.Bytes(), Args: r.URL.Query()["arg"], UID: nobody, Limits: map[int]proc.Rlimit{
		unix.RLIMIT_DATA: {Cur: 128 << 20, Max: 128 << 20}, unix.RLIMIT_NPROC: {Cur: 64, Max: 64}, unix.RLIMIT_FSIZE: {Cur: 1 << 20, Max: 1 << 20},
	}})
	fmt.Fprintf(w, "%s\n%s: run %d\n", one.output, one.status, one.id)
}

// add gives a run its number, and shows it.
func (l *lab) add(r *run) *run {
	if r.design == nil {
		r.design = exit.Designs[0]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.id = l.next
	l.next++
	if l.runs = append(l.runs, r); len(l.runs) > keptRuns {
		l.runs = slices.Delete(l.runs, 0, 1)
	}
	return r
}

// do runs a program to its end.
func (l *lab) do(r *run, p kernel.Program) {
	var out output
	p.Design, p.Stdout, p.Stderr, p.Timeout = r.design, &out, &out, runLimit
	made, err := l.k.Start(p)
	if err != nil {
		l.end(r, err.Error(), 0, nil)
		return
	}
	l.mu.Lock()
	r.proc = made
	l.mu.Unlock()
	slowest := l.probe(made.Done())
	l.end(r, made.Wait().String(), slowest, out)
}

func (l *lab) end(r *run, status string, slowest time.Duration, out output) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.status, r.slowest, r.output = status, slowest, string(out)
}

// output is the first bytes of what a program writes.
type output []byte

func (o *output) Write(p []byte) (int, error) {
	*o = append(*o, p[:min(len(p), maxOutput-len(*o))]...)
	return len(p), nil
}

// count is told of each step of each exit.
func (l *lab) count(s kernel.Step) {
	switch s.Step {
	case exit.StepExit1:
		l.exiting.Add(2)
	case exit.StepGone, exit.StepSpaceFreed:
		l.exiting.Add(-1)
	}
}

// probe is another client of the server, on a connection of its own, until done is closed
// and no process ends. It returns the longest time that an answer took while one ended.
func (l *lab) probe(done <-chan struct{}) (slowest time.Duration) {
	defer func() { <-done }()
	t := &http.Transport{DialContext: l.k.Dial}
	defer t.CloseIdleConnections()
	for {
		select {
		case <-done:
			if l.exiting.Load() <= 0 {
				return slowest
			}
		case <-time.After(200 * time.Microsecond):
		}
		begin, ends := time.Now(), l.exiting.Load()
		r, err := (&http.Client{Transport: t}).Get("http://127.0.0.1/ping")
		if err != nil {
			return slowest
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if ends+l.exiting.Load() > 0 {
			slowest = max(slowest, time.Since(begin))
		}
	}
}

// events sends a page what has changed, as server-sent events: an object for each run that
// has, and one for the machine.
func (l *lab) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for sent := map[int]string{}; r.Context().Err() == nil; time.Sleep(redrawTime) {
		total, free := l.k.Memory()
		texts := map[int]string{0: fmt.Sprintf(`{"total":%d,"free":%d}`, total>>20, free>>20)}
		l.mu.Lock()
		for _, one := range l.runs {
			texts[one.id] = one.json()
		}
		l.mu.Unlock()
		for _, id := range slices.Sorted(maps.Keys(texts)) {
			if sent[id] != texts[id] {
				fmt.Fprintf(w, "data: %s\n\n", texts[id])
			}
		}
		sent = texts
		w.(http.Flusher).Flush()
	}
}

// figures returns the steps of the run's exit, its time in microseconds, and the pages that
// it freed.
func (r *run) figures() (list []kernel.Step, us, pages int64) {
	if r.proc != nil {
		list = r.proc.Steps()
	}
	for _, e := range list {
		us, pages = (e.When-list[0].When)/1000, pages+e.Pages
	}
	return list, us, pages
}

// json describes the run for the page's script. Steps are [ns, name, context, CPU].
func (r *run) json() string {
	list, us, pages := r.figures()
	var steps []string
	for _, s := range list {
		steps = append(steps, fmt.Sprintf("[%d,%q,%q,%d]", s.When, s.Step, s.Context, s.CPU))
	}
	return fmt.Sprintf(`{"id":%d,"design":%q,"done":%t,"us":%d,"pages":%d,"slowest":%d,"row":%q,"steps":[%s]}`,
		r.id, r.design, r.status != "", us, pages, r.slowest.Microseconds(), r.row(), strings.Join(steps, ","))
}

// row is the run's line of the table.
func (r *run) row() string {
	_, us, pages := r.figures()
	return fmt.Sprintf("<tr><td><a href=/run/%d>%d</a><td>%s<td>%d MB<td>%d<td>%v<td>%s<td>%d us<td>%d<td>%v</tr>",
		r.id, r.id, r.design, r.mb, r.threads, r.delay, html.EscapeString(r.status), us, pages, r.slowest.Round(time.Microsecond))
}

// front is the page.
func (l *lab) front(w http.ResponseWriter, _ *http.Request) {
	designs, rows := "", ""
	for i, d := range exit.Designs {
		designs += fmt.Sprintf("<label title=%q><input type=radio name=design value=%s%s>%s</label>\n",
			html.EscapeString(d.Idea), d, [...]string{" checked", ""}[min(i, 1)], d)
	}
	l.mu.Lock()
	for _, r := range l.runs {
		rows = r.row() + "\n" + rows
	}
	l.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = strings.NewReplacer("{designs}", designs, "{rows}", rows).WriteString(w, page)
}

// show is the page of one run: a line for each step.
func (l *lab) show(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.runs {
		if fmt.Sprint(one.id) != r.PathValue("id") {
			continue
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!doctype html><title>run %d</title><body style='font-family:sans-serif'><p><a href=/>all runs</a>\n<h1>Run %d: exit=%s, %d MB, %d threads</h1>\n",
			one.id, one.id, one.design, one.mb, one.threads)
		fmt.Fprintf(w, "<p>%s; the longest answer to others meanwhile: %d us\n<pre>%s</pre>\n<table>\n<tr><th>us<th>step<th>in<th>CPU<th>pages<th>table pages\n",
			html.EscapeString(one.status), one.slowest.Microseconds(), html.EscapeString(one.output))
		list, _, _ := one.figures()
		for _, s := range list {
			fmt.Fprintf(w, "<tr><td>%.1f<td>%s<td>%s<td>%d<td>%d<td>%d\n", float64(s.When-list[0].When)/1000, s.Step, s.Context, s.CPU, s.Pages, s.Tables)
		}
		fmt.Fprintln(w, "</table>")
		return
	}
	http.NotFound(w, r)
}
