#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A browser shows a page that lives behind the far agent, under a name that only that side knows. (E01)"""
import os
import shutil
import time

from world import PROXY, World, main, report, skip

PAGE = """<!DOCTYPE html><title>far</title><link rel=stylesheet href=style.css>
<p id=text>waiting</p><img src=picture.svg id=picture>
<script src=script.js></script>"""
SCRIPT = """window.onload = () => {
  const picture = document.getElementById("picture");
  const colour = getComputedStyle(document.getElementById("text")).color;
  document.getElementById("text").textContent =
    `made by ${location.host}, picture ${picture.naturalWidth}, ${colour}`;
};"""


def story():
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or \
        shutil.which("google-chrome")
    if not browser:
        skip("no chromium")
    with World() as w:
        w.serve_files()
        htdocs = w.lab.directory / "htdocs"
        (htdocs / "index.html").write_text(PAGE)
        (htdocs / "script.js").write_text(SCRIPT)
        (htdocs / "style.css").write_text("#text { color: rgb(1, 2, 3); }")
        (htdocs / "picture.svg").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="123" height="45"/>')
        w.start()
        home = w.lab.directory / "browser"
        home.mkdir()
        begin = time.monotonic()
        got = w.a.host.run([browser, "--headless", "--no-sandbox", "--disable-gpu",
                            "--disable-quic", "--no-first-run",
                            "--disable-background-networking", "--disable-component-update",
                            "--disable-sync", "--disable-dev-shm-usage",
                            f"--user-data-dir={home}", f"--crash-dumps-dir={home}",
                            f"--proxy-server=socks5://{PROXY[0]}:{PROXY[1]}",
                            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                            "--virtual-time-budget=20000", "--timeout=30000",
                            "--dump-dom", "http://web.far.lab/"],
                           timeout=60, env={**os.environ, "HOME": str(home)})
        report("seconds to the page", time.monotonic() - begin)
        assert "made by web.far.lab, picture 123, rgb(1, 2, 3)" in got.stdout, got
        report("the page says", got.stdout.split("<p")[1].split(">")[1].split("<")[0])


main(story)
