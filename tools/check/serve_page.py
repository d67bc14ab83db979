#!/usr/bin/env python3
"""Checks the server's page in a headless Chromium, with a recording as the microphone.

    python tools/check/serve_page.py --hearken target/debug/hearken --model M.onnx --pictures /tmp

Prints the transcript and compares it with `hearken transcribe`; drops a recording on the page, plays a word,
uses the keyboard, shows live captions, refuses the microphone, stops and suspends the server while listening, opens the page by a
name that is not allowed, and enters a token. Screenshots (light, dark, phone) are written to --pictures.
Needs Chromium and the Python packages playwright, websockets, numpy and soundfile.
"""

import argparse
import os
import shutil
import signal
import tempfile
import time
import wave
from urllib.parse import urlparse

from playwright.sync_api import sync_playwright

from serve_clients import Server, transcribe

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")  # or playwright's own

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
]


def padded(path, folder):
    """The recording between silences: Chromium's fake microphone plays it from some moment on."""
    with wave.open(path) as source:
        frames, rate = source.readframes(source.getnframes()), source.getframerate()
        assert source.getnchannels() == 1 and source.getsampwidth() == 2, "16 bit mono, please"
    out = os.path.join(folder, "microphone.wav")
    with wave.open(out, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(rate)
        target.writeframes(b"\0" * rate * 4 + frames + b"\0" * rate * 60)
    return out, len(frames) / 2 / rate


class Browser:
    def __init__(self, playwright, microphone, name=None, origin=None, **context):
        flags = FLAGS + ["--use-fake-device-for-media-stream"]
        if name:  # by which this computer is reached; a secure place all the same, for the microphone
            flags += [f"--host-resolver-rules=MAP {name} 127.0.0.1",
                      f"--unsafely-treat-insecure-origin-as-secure={origin}"]
        if microphone:
            flags += ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}%noloop"]
        self.browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        self.page = self.browser.new_page(**context)
        self.errors = []
        self.hosts = set()
        self.page.on("request", lambda r: self.hosts.add(urlparse(r.url).netloc))
        self.page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))

    def __enter__(self):
        return self.page

    def __exit__(self, *_):
        self.browser.close()


def text(page):
    return " ".join(page.inner_text("#transcript").split())


def colored(page, canvas):
    """The part of a canvas that is not background."""
    script = """id => { const c = document.getElementById(id);
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] + d[i+1] + d[i+2] > 120) n++;
        return n / (c.width * c.height); }"""
    return page.evaluate(script, canvas)


# The lowest contrast ratio (WCAG 2.1) of visible text and its background.
CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data]; };
    const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    let worst = [99, ''];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || !element.checkVisibility() || element.disabled) continue;
        let behind = element;
        while (behind.parentElement && rgb(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
        const a = light(rgb(getComputedStyle(element).color)), b = light(rgb(getComputedStyle(behind).backgroundColor));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < worst[0]) worst = [ratio, element.textContent.trim().slice(0, 40)];
    }
    return worst; }"""


# How far each token's label is from its row of the picture, and from the label before it: pixels.
LABELS = """() => {
    const canvas = document.getElementById('tokens'), box = canvas.getBoundingClientRect();
    const labels = [...document.querySelectorAll('#token-labels span')].map((l) => l.getBoundingClientRect());
    const row = box.height / canvas.height;
    const off = labels.map((l, i) => Math.abs((l.top + l.bottom) / 2 - (box.top + (i + 0.5) * row)));
    const gaps = labels.slice(1).map((l, i) => l.top - labels[i].bottom);
    return {count: labels.length, rows: canvas.height, off: Math.max(...off), overlap: -Math.min(0, ...gaps),
        font: parseFloat(getComputedStyle(canvas.parentElement.firstElementChild).fontSize), row}; }"""


def listen(browser_type, url, args, microphone, seconds, expected, picture, **context):
    browser = Browser(browser_type, microphone, **context)
    with browser as page:
        page.goto(url)
        page.wait_for_selector("#status:text-is('Ready.')")
        assert "seven" in page.inner_text("#model"), page.inner_text("#model")
        hint = "Tap" if context.get("has_touch") else "Press"
        assert page.inner_text("#hint").startswith(hint), page.inner_text("#hint")
        page.keyboard.press("Space")
        page.wait_for_selector("#status:text-is('Listening.')")
        # During the utterance: words that may still change, and the activity of the network.
        words = expected.split()
        page.wait_for_function("w => document.querySelector('.partial')?.textContent.includes(w)", arg=words[-2], timeout=30000)
        level = page.evaluate("document.getElementById('level').value")
        page.screenshot(path=os.path.join(args.pictures, picture), full_page=True)
        # The utterance ends by itself, in silence.
        page.wait_for_function("n => document.querySelectorAll('.word').length >= n", arg=len(words), timeout=30000)
        drawn = {c: colored(page, c) for c in ("spectrogram", "tokens", "state")}
        contrast = page.evaluate(CONTRAST)
        labels = page.evaluate(LABELS)
        assert labels["count"] == labels["rows"] > 0 and labels["off"] <= 1 and labels["overlap"] <= 0.5, labels
        assert labels["font"] <= labels["row"], f"labels are higher than their rows: {labels}"
        page.keyboard.press("Escape")
        page.wait_for_selector("#status:text-is('Not listening.')")
        heard = text(page)
        words = page.locator(".word").count()
        page.locator(".word").first.click()
        page.wait_for_selector(".word.playing", timeout=30000)
        box, line = page.locator(".word").first.bounding_box(), page.locator("#transcript p").first.bounding_box()
        assert line["y"] <= box["y"] and box["y"] + box["height"] <= line["y"] + line["height"], (box, line)
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        print(f"{picture}: {heard!r}, {words} words, {level:.0f} dB, drawn {drawn}, least contrast {contrast}")
        assert heard == expected, f"heard {heard!r}, expected {expected!r}"
        assert all(v > 0.01 for v in drawn.values()), drawn
        assert not wide, "the page is wider than the window"
        assert level > -45, f"the level is {level} dB while somebody speaks"
        assert contrast[0] >= 4.5, f"hard to read: {contrast}"
        assert browser.hosts == {urlparse(url).netloc}, f"something is loaded from elsewhere: {browser.hosts}"
        assert not browser.errors, browser.errors


def captions(browser_type, url, args, microphone, expected):
    browser = Browser(browser_type, microphone, viewport={"width": 1280, "height": 240})
    with browser as page:
        page.goto(f"{url}captions#lines=2&size=40&seconds=3")
        shown = "document.getElementById('captions').innerText.replaceAll('\\n', ' ')"
        page.wait_for_function(f"w => {shown}.includes(w)", arg=expected.split()[1], timeout=30000)
        # As OBS does; the page's policy must allow it.
        page.add_style_tag(content="body { letter-spacing: 1px }")
        assert page.evaluate("getComputedStyle(document.body).letterSpacing") == "1px"
        page.wait_for_function(f"w => {shown}.endsWith(w)", arg=expected, timeout=30000)
        page.screenshot(path=os.path.join(args.pictures, "captions.png"), omit_background=True)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
        page.wait_for_function(f"() => {shown} === ''", timeout=30000)
        assert not page.is_visible("#problem") and not browser.errors, browser.errors
    # Without a microphone the page says so, and tries again.
    browser = Browser(browser_type, None)
    with browser as page:
        page.goto(url + "captions")
        page.wait_for_selector("#problem:not([hidden])", timeout=10000)
        print("captions:", expected, "- and refused:", page.inner_text("#problem"))


def drop(page, path):
    """Drops a file on the page, like a user."""
    with open(path, "rb") as file:
        data = list(file.read())
    page.evaluate(
        """([data, name]) => { const t = new DataTransfer();
            t.items.add(new File([new Uint8Array(data)], name, {type: 'audio/wav'}));
            for (const kind of ['dragenter', 'dragover', 'drop'])
                document.body.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: t})); }""",
        [data, os.path.basename(path)],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hearken", default="target/release/hearken")
    parser.add_argument("--model", default="models/digits/digits.onnx")
    parser.add_argument("--recording", default="audio/countdown.wav", help="16 bit, mono")
    parser.add_argument("--pictures", default=tempfile.gettempdir())
    args = parser.parse_args()
    expected = transcribe(args.hearken, args.model, args.recording)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        microphone, seconds = padded(args.recording, folder)
        with Server(args.hearken, args.model) as server:
            url = server.http + "/"
            looks = [
                ("page-light.png", {"viewport": {"width": 1100, "height": 900}, "color_scheme": "light"}),
                ("page-dark.png", {"viewport": {"width": 1100, "height": 900}, "color_scheme": "dark"}),
                ("page-phone.png", {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "device_scale_factor": 2, "has_touch": True, "is_mobile": True}),
            ]
            for picture, context in looks:
                listen(playwright, url, args, microphone, seconds, expected, picture, **context)

            captions(playwright, url, args, microphone, expected)

            # A recording is dropped; its words are played, and selected by keyboard.
            browser = Browser(playwright, microphone)
            with browser as page:
                page.goto(url)
                drop(page, args.recording)
                page.wait_for_selector(".word")
                assert text(page).endswith(expected), text(page)
                page.keyboard.press("ArrowRight")
                page.keyboard.press("ArrowRight")
                assert page.evaluate("document.activeElement.textContent") == expected.split()[1]
                assert page.locator(".word[tabindex='0']").all_inner_texts() == expected.split()[1:2], "one place for Tab"
                assert " s, confidence " in page.locator(".word").first.get_attribute("aria-description")
                page.keyboard.press("Enter")
                page.wait_for_selector(".word.playing", timeout=30000)
                # The pictures show the recording.
                page.wait_for_function("() => document.getElementById('source').textContent !== ''", timeout=60000)
                assert page.inner_text("#source") == f"of {os.path.basename(args.recording)}"
                page.wait_for_timeout(1000)
                drawn = {c: colored(page, c) for c in ("spectrogram", "tokens", "state")}
                assert all(v > 0.01 for v in drawn.values()), drawn
                print(f"opened: drawn {drawn}")
                page.screenshot(path=os.path.join(args.pictures, "page-dropped.png"), full_page=True)
                page.click("#clear")
                assert text(page) == "", text(page)
                assert page.locator(".word.playing").count() == 0
                # Space then starts listening; Esc stops a word that is played before it stops listening.
                page.keyboard.press("Space")
                page.wait_for_selector("#status:text-is('Listening.')")
                drop(page, args.recording)
                page.wait_for_selector(".source")
                assert page.inner_text("#status") == "Listening.", page.inner_text("#status")
                page.evaluate("document.querySelector('.word').click()")
                page.wait_for_selector(".word.playing", timeout=30000)
                page.keyboard.press("Escape")
                assert page.locator(".word.playing").count() == 0
                assert page.inner_text("#status") == "Listening.", page.inner_text("#status")
                page.keyboard.press("Escape")
                page.wait_for_selector("#status:text-is('Not listening.')")
                drop(page, __file__)
                page.wait_for_selector("#problem:not([hidden])")
                print("not audio:", page.inner_text("#problem"))
                page.screenshot(path=os.path.join(args.pictures, "page-problem.png"))

            # Access to the microphone is refused.
            browser = Browser(playwright, None)
            with browser as page:
                page.goto(url)
                page.click("#listen")
                page.wait_for_selector("#problem:not([hidden])", timeout=10000)
                print("refused:", page.inner_text("#problem"))
                assert "refused" in page.inner_text("#problem")
                page.wait_for_selector("#status:text-is('Not listening.')")

            # The server hangs during a stream and while the last words are pending; then before a stream.
            browser = Browser(playwright, microphone)
            with browser as page:
                page.goto(url)
                page.click("#listen")
                page.wait_for_selector("#status:text-is('Listening.')")
                server.process.send_signal(signal.SIGSTOP)
                page.wait_for_selector("#problem:not([hidden])", timeout=60000)
                print("hung:", page.inner_text("#problem"))
                assert "does not answer" in page.inner_text("#problem")
                server.process.send_signal(signal.SIGCONT)
                page.wait_for_selector("#problem", state="hidden", timeout=60000)
                server.process.send_signal(signal.SIGSTOP)
                page.click("#listen")
                page.wait_for_selector("#status:text-is('Not listening.')", timeout=60000)
                print("hung at the end:", page.inner_text("#problem"))
                assert "last words" in page.inner_text("#problem")
                page.click("#listen")
                page.wait_for_selector("#problem:not([hidden])", timeout=60000)
                print("hung at the beginning:", page.inner_text("#problem"))
                assert "does not answer" in page.inner_text("#problem")
                page.wait_for_selector("#status:text-is('Not listening.')")
                server.process.send_signal(signal.SIGCONT)

            # The page is loaded by a host name that is not allowed.
            foreign = server.http.replace("127.0.0.1", "speech.test")
            browser = Browser(playwright, microphone, name="speech.test", origin=foreign)
            with browser as page:
                page.goto(foreign)
                page.click("#listen")
                page.wait_for_selector("#problem:not([hidden])", timeout=60000)
                print("not allowed:", page.inner_text("#problem"))
                assert "--allow-origin" in page.inner_text("#problem")

            # The server is stopped, then killed, during a stream.
            browser = Browser(playwright, microphone)
            with browser as page:
                page.goto(url)
                page.click("#listen")
                page.wait_for_selector("#status:text-is('Listening.')")
                time.sleep(1)
                server.process.terminate()
                page.wait_for_selector("#problem:not([hidden])", timeout=10000)
                print("stopped:", page.inner_text("#problem"))
                assert "stopped" in page.inner_text("#problem")
                assert server.process.wait(20) == 0

        with Server(args.hearken, args.model) as server:
            browser = Browser(playwright, microphone)
            with browser as page:
                page.goto(server.http + "/")
                page.click("#listen")
                page.wait_for_selector("#status:text-is('Listening.')")
                server.process.kill()
                page.wait_for_selector("#problem:not([hidden])", timeout=10000)
                print("killed:", page.inner_text("#problem"))
                assert "cannot be reached" in page.inner_text("#problem")

        # The limit of streams is reached, then that of traces.
        with Server(args.hearken, args.model, "--max-streams", "0") as server:
            browser = Browser(playwright, microphone)
            with browser as page:
                page.goto(server.http + "/")
                page.click("#listen")
                page.wait_for_selector("#problem:not([hidden])", timeout=10000)
                print("full:", page.inner_text("#problem"))
                assert "full" in page.inner_text("#problem")
                page.wait_for_selector("#status:text-is('Not listening.')")
        with Server(args.hearken, args.model, "--max-traces", "0") as server:
            browser = Browser(playwright, microphone)
            with browser as page:
                page.goto(server.http + "/")
                page.click("#listen")
                page.wait_for_selector("#no-trace:not([hidden])", timeout=10000)
                print("not shown:", page.inner_text("#no-trace"))
                assert page.is_visible("#spectrogram") and not page.is_visible("#state")
                page.click("#listen")
                page.wait_for_selector("#status:text-is('Not listening.')")
                assert not browser.errors, browser.errors

        token = os.path.join(folder, "token")
        with open(token, "w") as file:
            file.write("0123456789abcdef\n")
        with Server(args.hearken, args.model, "--token-file", token, "--max-upload", "1000") as server:
            browser = Browser(playwright, microphone)
            with browser as page:
                page.goto(server.http + "/")
                page.wait_for_selector("#token-form:not([hidden])")
                page.wait_for_selector("#status:text-is('A token is needed.')")
                page.fill("#token", "0123456789abcdef")
                page.keyboard.press("Enter")
                page.wait_for_selector("#token-form", state="hidden")
                page.click("#listen")
                page.wait_for_selector("#status:text-is('Listening.')")
                page.click("#listen")
                page.wait_for_selector("#status:text-is('Not listening.')")
                print("token: taken")
                drop(page, args.recording)
                page.wait_for_selector("#problem:not([hidden])")
                print("too long:", page.inner_text("#problem"))
                assert "too large" in page.inner_text("#problem")
    print("the page works")


if __name__ == "__main__":
    main()
