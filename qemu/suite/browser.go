package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// browser is a page in headless Chromium, driven by the DevTools protocol.
type browser struct {
	conn *websocket.Conn
	last int
}

// errNoBrowser means that Chromium is not installed.
var errNoBrowser = fmt.Errorf("chromium is not installed")

// withPage opens a page and calls use.
func withPage(ctx context.Context, url string, use func(b *browser) error) error {
	program, err := exec.LookPath("chromium")
	if err != nil {
		return errNoBrowser
	}
	dir, err := os.MkdirTemp("", "grim")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1100,900",
		"--remote-debugging-port=0", "--remote-allow-origins=*", "--user-data-dir="+dir, "about:blank")
	text, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		stop()
		_ = cmd.Wait()
	}()
	port := ""
	lines := bufio.NewScanner(text)
	for port == "" && lines.Scan() {
		if _, at, ok := strings.Cut(lines.Text(), "DevTools listening on ws://"); ok {
			port, _, _ = strings.Cut(at, "/")
		}
	}
	go func() {
		for lines.Scan() { // nobody else reads it
		}
	}()
	if port == "" {
		return fmt.Errorf("chromium does not listen")
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+port+"/json/new?"+url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var page struct{ WebSocketDebuggerURL string }
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil {
		return err
	}
	conn, err := websocket.Dial(page.WebSocketDebuggerURL, "", "http://localhost")
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.MaxPayloadBytes = 64 << 20
	return use(&browser{conn: conn})
}

// call makes a call of the protocol, and puts its result into result.
func (b *browser) call(method string, params map[string]any, result any) error {
	b.last++
	if err := websocket.JSON.Send(b.conn, map[string]any{"id": b.last, "method": method, "params": params}); err != nil {
		return err
	}
	for {
		var m struct {
			ID     int
			Error  *struct{ Message string }
			Result json.RawMessage
		}
		if err := websocket.JSON.Receive(b.conn, &m); err != nil {
			return err
		}
		switch {
		case m.ID != b.last: // an event
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		default:
			return json.Unmarshal(m.Result, result)
		}
	}
}

// waitFor evaluates an expression of JavaScript until it is true.
func (b *browser) waitFor(expression string, limit time.Duration) error {
	for begin := time.Now(); time.Since(begin) < limit; time.Sleep(100 * time.Millisecond) {
		var r struct{ Result struct{ Value any } }
		if err := b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r); err != nil {
			return err
		}
		if r.Result.Value == true {
			return nil
		}
	}
	return fmt.Errorf("not true in the page within %v: %s", limit, expression)
}

// screenshot writes a picture of the page.
func (b *browser) screenshot(path string) error {
	var r struct{ Data string }
	if err := b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &r); err != nil {
		return err
	}
	image, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(path, image, 0o666)
}

// click uses the lab's page in a browser: it chooses a design and a memory, clicks the
// button, and waits for the run, its line of the table, its timeline and the sums.
func (l labClient) click(ctx context.Context, arch string, limit time.Duration) error {
	err := withPage(ctx, l.at+"/", func(b *browser) error {
		for _, step := range []string{
			`document.readyState == "complete" && !document.getElementById("live").hidden`,
			`document.querySelector("input[value=reaper]").click(), document.querySelector("[name=mb]").value = 24,
			 document.querySelector("[name=copies]").value = 3, document.querySelector("button").click(), true`,
			`document.querySelectorAll("#rows tr").length >= 3 && document.getElementById("rows").textContent.includes("reaper8 MB4")`,
			`[...document.querySelectorAll("#rows tr")].slice(0, 3).every(r => r.textContent.includes("status 0"))`,
			`document.querySelectorAll("#chart rect").length > 30 && document.getElementById("title").textContent.includes("exit=reaper, 3 processes")`,
			`document.getElementById("sums").textContent.includes("reaper") && document.getElementById("memory").textContent.includes(" of ")`,
		} {
			if err := b.waitFor(step, limit); err != nil {
				return err
			}
		}
		return b.screenshot("build/logs/lab-" + arch + ".png")
	})
	if err == errNoBrowser {
		fmt.Printf("lab %s: the page's button is not clicked: %v\n", arch, err)
		return nil
	}
	return err
}
