"""Swagger UI in a real browser, with the key, under its own policy."""

import shutil

import pytest

from tests.integration.test_api.test_api_server import serving

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
def test_swagger_works_behind_the_key_without_any_other_site(tmp_path, hikaku_url):
    api = pytest.importorskip("playwright.sync_api")
    said: list[str] = []
    asked: set[str] = set()
    with serving(tmp_path, hikaku_url, HIKAKU_API_KEY="k1") as served, api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(http_credentials={"username": "any", "password": "k1"})
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.add(request.url.split("/")[2]))
        page.goto(f"{served.url}/docs")
        page.wait_for_selector(".opblock", timeout=30_000)
        assert page.locator(".opblock").count() >= 25
        page.locator("[id^='operations-endpoints']").first.click()
        page.locator("button.execute").first.click()
        page.wait_for_selector(".live-responses-table .response-col_status:has-text('200')")
        assert "parrot" in page.locator(".live-responses-table").inner_text()
        browser.close()
    assert said == []
    assert asked == {served.url.removeprefix("http://")}
