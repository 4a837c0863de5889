import pytest

from spanledger_dashboard.billing import sentence

STEP = {"not_billed_reason": None, "cost_status": None, "cost_source": None, "price_version": None, "unpriced_reason": None}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({}, ""),
        ({"cost_status": "not_billable", "cost_source": "refused"}, "not billed: the provider refused it"),
        (
            {"not_billed_reason": "its usage repeats that of the model calls below it", "cost_status": "priced"},
            "not billed: its usage repeats that of the model calls below it",
        ),
        ({"cost_status": "unpriced", "unpriced_reason": "unknown_model"}, "not priced: unknown model"),
        (
            {"cost_status": "unpriced", "unpriced_reason": "failed_without_usage"},
            "not priced: it failed and its token counts are unknown",
        ),
        (
            {"cost_status": "unpriced", "unpriced_reason": "no_price_for_output_audio"},
            "not priced: no price for output audio tokens",
        ),
        ({"cost_status": "unpriced"}, "not priced: no price is known"),
        ({"cost_status": "unpriced", "unpriced_reason": "brand_new"}, "not priced: brand new"),
        ({"cost_status": "reported", "cost_source": "reported"}, "reported by the application or its provider"),
        (
            {"cost_status": "priced", "cost_source": "genai-prices", "price_version": "genai-prices/0.0.71"},
            "priced by the list price (genai-prices 0.0.71)",
        ),
        ({"cost_status": "priced", "cost_source": "user"}, "priced by your own price"),
        ({"cost_status": "free", "cost_source": "genai-prices"}, "free by the list price"),
        (
            {"cost_status": "estimated", "cost_source": "corrections"},
            "estimated: token counts or rate are an estimate, by a corrected list price",
        ),
    ],
)
def test_a_person_can_read_why_a_step_costs_what_it_costs(step, said):
    assert sentence(STEP | step) == said


def test_every_status_of_the_contract_has_words_of_its_own():
    from spanledger_schema.tokens import CostStatus

    assert len({sentence(STEP | {"cost_status": status}) for status in CostStatus}) == len(CostStatus)
