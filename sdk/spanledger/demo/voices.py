"""What people and models say in the demonstration. The shop, its customers and their orders are invented."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that customers write about: their questions, good answers, and the help pages on it."""

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    pages: tuple[tuple[str, str], ...]


TOPICS: Final = (
    Topic(
        "delivery",
        (
            "Where is my parcel? It should have been here on {day}.",
            "Order {order} says delivered, but nothing is here.",
            "Can you still change the delivery address of order {order}?",
            "How long does delivery to {city} take?",
        ),
        (
            "Your parcel left our warehouse and is with the carrier; it is expected on {day}. The tracking link is in your mail.",
            "Delivery to {city} takes three to five working days. Orders before 14:00 leave on the same day.",
            "I have changed the address of order {order}. You will get a new confirmation within a few minutes.",
        ),
        (
            (
                "help/delivery-times",
                "Standard delivery takes 3 to 5 working days, express 1 to 2.",
            ),
            (
                "help/lost-parcels",
                "A parcel counts as lost 10 working days after dispatch.",
            ),
            ("help/change-address", "The address can be changed until the parcel is handed to the carrier."),
        ),
    ),
    Topic(
        "returns",
        (
            "The jacket is too small, how do I send it back?",
            "I returned order {order} two weeks ago. Where is my money?",
            "Can I exchange the boots for size {size}?",
            "Do I have to pay for the return from {city}?",
        ),
        (
            "You can send it back within 30 days. I have mailed you a label; drop the parcel at any pick-up point.",
            "Your return for order {order} arrived on {day}. The refund takes up to five working days to show on your account.",
            "Yes, size {size} is in stock. I have reserved a pair until {day}; just send the old ones back with the label.",
        ),
        (
            ("help/returns", "Unused goods can be returned within 30 days. Returns are free within the country of purchase."),
            ("help/refunds", "Refunds go to the means of payment used and take up to 5 working days after the return arrives."),
            ("help/exchange", "Exchanges are handled as a return and a new order; stock is reserved for 7 days."),
        ),
    ),
    Topic(
        "products",
        (
            "Is the Ridgeline tent waterproof enough for a week in {city} in autumn?",
            "Which sleeping bag for {cold} degrees below zero?",
            "Do the Scree boots fit wide feet?",
            "What is the difference between the Tarn 45 and the Tarn 60?",
        ),
        (
            "The Ridgeline has a 4,000 mm fly sheet and taped seams, so a wet autumn week is fine. Bring the footprint.",
            "For {cold} degrees below zero take the Hollow 700; its comfort limit is well under that.",
            "Both share the same frame. The 60 holds 15 litres more and has a lid pocket; the 45 is 300 g lighter.",
        ),
        (
            ("catalogue/ridgeline", "Ridgeline 2: two-person tent, 1.9 kg, fly sheet 4,000 mm, floor 8,000 mm, taped seams."),
            ("catalogue/hollow", "Hollow 500 / 700: down sleeping bags, comfort -4 / -12 °C, 780 / 1,050 g."),
            ("catalogue/scree", "Scree GTX boots: D width standard, wide last available from size 40."),
        ),
    ),
    Topic(
        "account",
        (
            "I cannot log in any more since {day}.",
            "Please delete my account and everything you know about me.",
            "How do I change the e-mail address of my account?",
            "Why was my card charged twice for order {order}?",
        ),
        (
            "I have sent a reset link to the address of your account. It is valid for one hour.",
            "One of the two charges on order {order} is a reservation that your bank releases by {day}.",
            "You can change the address under Account, Contact. For your safety we confirm it by mail to both addresses.",
        ),
        (
            ("help/login", "After five failed attempts an account is locked for 30 minutes. Reset links are valid for one hour."),
            ("help/privacy", "Accounts are deleted within 30 days of the request; invoices are kept for the legal period."),
            ("help/charges", "A second charge is usually a reservation; banks release it within 7 days."),
        ),
    ),
)

CITIES: Final = ("Lisbon", "Gdańsk", "Bergen", "Lyon", "Graz", "Cork", "Turku", "Ghent", "Trieste", "Malmö")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
TEAMS: Final = ("logistics", "returns", "payments", "product-advice", "privacy")
SYSTEM: Final = (
    "You are the support assistant of Northpeak, a shop for outdoor gear. Answer from the help pages only, in the customer's "
    "language, in at most five sentences. Say how sure you are, from 0 to 1."
)
SYSTEM_GROWN: Final = (
    SYSTEM + " Here is the complete catalogue with all variants, prices and stock, to be used for any question on products: …"
)
SEARCHES: Final = (
    "two person tent",
    "waterproof boots wide",
    "return label",
    "sleeping bag winter",
    "gift card balance",
    "repair kit",
)
DISLIKED: Final = (
    "Far too stiff, I rewrote all of it.",
    "Promises a refund that we do not give.",
    "Does not sound like us at all.",
    "Ignored what the customer actually asked.",
    "Too long. Nobody reads this.",
)
WRONG: Final = ("Wrong order.", "That is not what I asked.", "The link does not work.", "Outdated, this changed last month.")
PRAISED: Final = ("Quick and right, thanks!", "Exactly what I needed.", "Solved in a minute.", "Clear answer.")
REVIEWED: Final = ("Checked against the help pages.", "Tone is fine, facts are right.", "Cites a page that says otherwise.")
