"""What the other tests here rely on: every request is seen, and so is every error."""

PAGE = """<!doctype html><meta charset="utf-8"><title>page</title><link rel="icon" href="data:,"><p id="said"></p>
<script type="module">
document.querySelector("#said").textContent = (await (await fetch("data.json")).json()).word;
</script>"""


def folder_of(tmp_path, page):
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "data.json").write_text('{"word": "gelesen"}')
    return tmp_path


def test_a_page_of_a_folder_is_opened(visit, tmp_path):
    visited = visit(folder_of(tmp_path, PAGE), viewport={"width": 390, "height": 844}, color_scheme="dark")
    visited.page.get_by_text("gelesen").wait_for()
    assert visited.site.requests == ["/", "/data.json"]
    assert visited.outside == visited.errors == []
    assert visited.page.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [390, True]


def test_a_page_is_opened_from_disk(visit, tmp_path):
    visited = visit(folder_of(tmp_path, "<p>from disk") / "index.html")
    visited.page.get_by_text("from disk").wait_for()
    assert visited.site is None


def test_what_leaves_the_origin_is_seen(visit, tmp_path):
    page = """<script>
        const worker = `fetch("https://worker.example/").catch(() => {}).then(() => postMessage("done"))`;
        window.asked = new Promise(done => {
            new Worker(URL.createObjectURL(new Blob([worker]))).onmessage = done;
        });
        navigator.sendBeacon("https://beacon.example/", "x");
        new WebSocket("wss://socket.example/").onerror = () => { window.socket = true };
        window.other = fetch("http://127.0.0.1:9/").catch(() => {});
    </script><img src="http://image.example/a.png">"""
    visited = visit(folder_of(tmp_path, page), alone=False)
    visited.page.evaluate("Promise.all([window.asked, window.other])")
    visited.page.wait_for_function("window.socket")
    for place in ("worker.example", "beacon.example", "socket.example", "image.example", "127.0.0.1:9"):
        assert any(place in url for url in visited.outside), place
    # nothing got further than to the proxy, and the page's own server was asked for the page alone
    assert [path for path in visited.site.requests if path != "/favicon.ico"] == ["/"]


def test_what_goes_wrong_on_a_page_is_seen(visit, tmp_path):
    visited = visit(folder_of(tmp_path, "<script>console.error('so it is'); throw new Error('thrown')</script>"))
    visited.page.wait_for_load_state("networkidle")
    assert any("so it is" in error for error in visited.errors)
    assert any("thrown" in error for error in visited.errors)
