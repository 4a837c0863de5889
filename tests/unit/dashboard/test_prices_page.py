"""The prices page: what has no price, setting and retiring one, who says what a model costs, and pricing history again."""

import pytest
from tests.unit.dashboard.test_pages import words

from spanledger_dashboard.pricing.words import describe, stepped, way_of


def table(app, *columns):
    return next(d.value for d in app.dataframe if set(columns) <= set(d.value.columns))


def sent(world, method, path):
    return [body for verb, where, body in world.seen if verb == method and where == path]


def own(world, **over):
    price = {
        "id": "a" * 16,
        "kind": "model",
        "provider": "openai",
        "model": "gpt-6*",
        "multiplier": "0.82",
        "valid_from": "2026-07-01T00:00:00Z",
        "note": "contract 17",
        "changed_at": "2026-11-24T10:00:00Z",
        "version": "user/1",
    } | over
    world.prices.append(price)
    world.versions.append(price | {"action": "set"})
    return price


def test_models_without_a_price_are_listed_with_whether_a_price_would_help(open_page):
    rows = table(open_page("prices"), "helps", "why")
    found = {row["model"]: (row["why"], row["helps"]) for _, row in rows.iterrows()}
    assert found["local-llama"] == ("unknown model", "yes")
    assert found["gpt-6"] == ("it failed and its token counts are unknown", "no")


def test_what_is_old_is_said_with_what_to_do(open_page):
    said = words(open_page("prices"))
    assert "Priced by an older list" in said
    assert "spanledger reprice --dry-run" in said
    assert "genai-prices 9.9.9" in said


def test_prices_that_differ_from_the_list_show_both_with_their_steps(open_page):
    row = table(open_page("prices"), "ours", "release").iloc[0]
    assert (row["ours"], row["release"], row["source"]) == ("$3", "$3, above 200k input tokens $6", "a correction")


def test_a_price_is_set_as_it_was_typed_and_is_in_the_history(open_page, world):
    app = open_page("prices", p_view="Your prices")
    app.button(key="price_new").click().run()
    assert app.button(key="price_save").disabled
    key = "price_new___{}".format
    app.text_input(key=key("model")).set_value("house-*").run()
    app.text_input(key=key("input")).set_value("$0.20").run()
    app.text_input(key=key("output")).set_value("0.000000000001").run()
    app.text_input(key=key("valid_from")).set_value("2026-07-01").run()
    app.button(key="price_save").click().run()
    assert not app.exception
    assert sent(world, "PUT", "/api/v1/prices") == [
        {
            "kind": "model",
            "model": "house-*",
            "provider": "*",
            "prices": {"input": "0.20", "output": "0.000000000001"},
            "valid_from": "2026-07-01",
        }
    ]
    assert table(app, "price", "note").iloc[0]["price"] == "input $0.20 per 1M tokens; output $0.000000000001 per 1M tokens"
    assert list(table(app, "action", "model")["action"]) == ["set"]
    assert "price them again" in app.success[0].value


def test_a_price_that_the_collector_refuses_is_said_and_the_form_stays(open_page, world):
    price = own(world)
    app = open_page("prices", p_view="Your prices")
    app.query_params["p_id"] = price["id"]
    app.run()
    factor = f"price_{price['id']}_multiplier"
    app.text_input(key=factor).set_value("nine").run()
    assert app.button(key="price_save").disabled
    app.text_input(key=factor).set_value("12345678901234").run()
    app.button(key="price_save").click().run()
    assert "multiplier lies between 0 and 1000000000" in app.error[0].value
    assert app.text_input(key=factor).value == "12345678901234"
    assert world.prices[0]["multiplier"] == "0.82"


def test_a_price_that_the_form_cannot_show_whole_is_kept_whole(open_page, world):
    stepped_price = {"price": "2.50", "above": [{"above_input_tokens": 200000, "price": "5"}]}
    price = own(world, multiplier=None, prices={"input": stepped_price, "output": "10", "web_searches": "8"})
    app = open_page("prices", p_view="Your prices")
    app.query_params["p_id"] = price["id"]
    app.run()
    app.text_input(key=f"price_{price['id']}_output").set_value("12").run()
    app.button(key="price_save").click().run()
    (body,) = sent(world, "PUT", "/api/v1/prices")
    assert body["prices"] == {"input": stepped_price, "output": "12", "web_searches": "8"}


def test_a_retired_price_is_gone_and_its_history_stays(open_page, world):
    price = own(world)
    app = open_page("prices", p_view="Your prices")
    app.query_params["p_id"] = price["id"]
    app.run()
    app.button(key="price_retire").click().run()
    assert world.prices == []
    assert list(table(app, "action", "model")["action"]) == ["retired", "set"]


def test_a_model_says_what_it_costs_now_who_says_so_and_what_it_cost(open_page):
    app = open_page("prices", p_view="What a model costs", p_model="gpt-6 · openai")
    now = table(app, "For", "USD")
    assert dict(zip(now["For"], now["USD"], strict=True)) == {
        "Input": "$2.5",
        "Cache read": "$0.3, above 200k input tokens $0.6",
        "Output": "$10",
    }
    assert "the list price (genai-prices 9.9.9)" in words(app)
    assert list(table(app, "from", "until")["from"]) == ["2026-06-01", "ever"]


def test_a_model_without_a_price_says_why_and_a_price_can_be_begun(open_page, world):
    app = open_page("prices", p_view="What a model costs", p_model="nobodys · vllm")
    assert "No list knows a model of this name." in words(app)
    app.button(key="resolve_set").click().run()
    assert app.text_input(key="price_new_vllm_nobodys_model").value == "nobodys"


def test_history_is_tried_before_it_is_priced_again(open_page, world):
    app = open_page("prices", p_view="Price again")
    assert not any(button.key == "reprice_do" for button in app.button)
    app.text_input(key="p_again").set_value("local*").run()
    app.button(key="reprice_try").click().run()
    (trial,) = sent(world, "POST", "/api/v1/reprices")
    assert trial["dry_run"] is True
    assert trial["model"] == "local*"
    assert "T" in trial["since"]
    assert table(app, "why", "difference").iloc[0]["why"] == "it has a price now"
    app.button(key="reprice_do").click().run()
    for_good = sent(world, "POST", "/api/v1/reprices")[-1]
    assert for_good == {**trial, "dry_run": False}
    assert list(table(app, "state", "scope")["what"]) == ["for good", "trial"]


@pytest.mark.parametrize(
    ("price", "said", "way"),
    [
        ({"multiplier": "0.82"}, "× 0.82 of the list", "multiplier"),
        (
            {"price_as": {"provider": "openai", "model": "gpt-4o"}, "multiplier": "1.1"},
            "as gpt-4o of openai; × 1.1 of it",
            "same",
        ),
        ({"per_call": "0.01"}, "$0.01 per call", "call"),
        ({"gpu_hour_usd": "2.90", "gpus": "2"}, "$2.90 per GPU hour × 2 GPUs, estimated", "gpu"),
        ({"prices": {"input": "0", "web_searches": "10"}}, "input $0 per 1M tokens; web searches $10 per 1k", "tokens"),
    ],
)
def test_a_price_reads_as_a_sentence(price, said, way):
    assert describe(price) == said
    assert way_of(price) == way


def test_an_unknown_price_is_not_nothing():
    assert stepped(None) == "no price"
    assert stepped("0") == "$0"
