"""What every request goes through: whose host it names, and which site it comes from."""

import pytest
from visiting import sign_in, visiting

from policy_store.records import Role


@pytest.mark.parametrize(
    "elsewhere",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:8601"},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
@pytest.mark.parametrize("address", ["/roll-back", "/api/v1/live/roll-back", "/sign-in"])
def test_what_another_site_sends_is_refused(reviewing, address, elsewhere):
    answer = reviewing.as_("ada", Role.ADMIN).post(address, headers=elsewhere)
    assert (answer.status_code, "another site" in answer.text) == (403, True)
    assert reviewing.browser.get("/", headers=elsewhere).status_code == 200  # a link may lead here


def test_another_name_of_this_machine_is_not_answered(reviewing):
    answer = reviewing.as_("ada").get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "ada" not in answer.text


@pytest.mark.parametrize("base", ["http://127.0.0.1:8600", "https://review.example.org"])
def test_over_tls_cookies_and_browsers_stay_with_it(store, base):
    site = visiting(store, base_url=base)
    site.add("ada")
    browser = site.browser()
    entered = sign_in(browser, "ada")
    secure = base.startswith("https")
    cookies = entered.headers.get_list("set-cookie")
    assert ("strict-transport-security" in entered.headers) is secure
    assert all(("Secure" in one, "__Host-" in one) == (secure, secure) for one in cookies)
    assert all("HttpOnly" in one and "SameSite=lax" in one for one in cookies)
