"""Sign up, confirm the address, reset the password: pages, and the same routes for JSON.

The flows change the account and send a signal in the same transaction. They know nothing of mail.
Their answers, and the work behind them, are the same whether an address has an account or not.
"""

from __future__ import annotations

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    make_response,
    render_template,
    request,
)
from markupsafe import Markup
from werkzeug.exceptions import BadRequest

from .. import signals, signing, state, users
from ..models import User
from ..users import Purpose, Tokens, Verdict
from . import answers, limits, security
from .answers import JSON, message, refusal, wants_json

accounts = Blueprint("accounts", __name__)


def init_app(app: Flask) -> None:
    """Add the account pages to ``app``, with the defences and the error answers they need."""
    security.init_app(app)
    answers.init_app(app)
    limits.init_app(app)
    app.register_blueprint(accounts)

    @app.context_processor
    def page_values() -> dict[str, object]:
        return {
            "product_name": app.config["MAILER_PRODUCT_NAME"],
            "password_min": users.PASSWORD_MIN,
            "password_max": users.PASSWORD_MAX,
        }


class Form:
    """The fields of a request, from JSON or from a page, and what is wrong with them."""

    def __init__(self, *names: str) -> None:
        given = _json_object() if request.mimetype == JSON else request.form
        self.values = {name: given.get(name) for name in names}
        self.errors: dict[str, str] = {}

    def email(self) -> str:
        """Return the normalised address; an empty text, having noted the error, if it is none."""
        value = self.values["email"]
        if isinstance(value, str) and value.strip():
            try:
                return users.normalise(
                    value, allow_test_domains=current_app.config["MAILER_ALLOW_TEST_DOMAINS"]
                )
            except ValueError:
                self.errors["email"] = "Enter an email address such as anna@example.com."
        else:
            self.errors["email"] = "Enter your email address."
        return ""

    def password(self, *, email: str) -> str:
        """Return the new password of ``email``; an empty text if it is not good enough."""
        value = self.values["password"]
        if not isinstance(value, str) or not value:
            self.errors["password"] = "Enter a password."  # nosec B105  # noqa: S105 - words
        elif problem := users.password_problem(value, email):
            self.errors["password"] = problem
        else:
            return value
        return ""

    def refused(self, page: str, **context: object) -> Response:
        """Answer 422: the page again with what was wrong beside the fields, or JSON."""
        if wants_json():
            return refusal("", "Some fields need another look.", status=422, fields=self.errors)
        html = render_template(page, values=self.values, errors=self.errors, **context)
        return make_response(html, 422)


def _json_object() -> dict[str, object]:
    try:
        body = request.get_json(silent=True)
    except RecursionError:  # thousands of nested brackets
        body = None
    if not isinstance(body, dict):
        raise BadRequest("The body is not a JSON object.")
    return body


@accounts.get("/")
def home() -> str:
    return render_template("home.html")


@accounts.get("/signup")
def signup() -> str:
    return render_template("signup.html", values={}, errors={})


@accounts.post("/signup")
def sign_up() -> Response:
    form = Form("email", "password")
    email = form.email()
    password = form.password(email=email)
    if form.errors:
        return form.refused("signup.html")
    limits.check(email)
    mailer = state.current()
    with mailer.database.session() as session:
        user = users.sign_up(session, email, password)
        if user is None:
            signals.sign_up_repeated.send(mailer.app, address=email, session=session)
        else:
            signals.user_signed_up.send(mailer.app, user_id=user.id, session=session)
    return message(
        "Check your inbox",
        "We have sent you an email. Open the link in it to go on.",
        page_text=Markup(
            "We have sent an email to <strong>{}</strong>. Open the link in it to go on."
        ).format(email),
        sign="mail",
        status=202,
    )


@accounts.get("/confirm/<token>")
def confirm(token: str) -> str:
    # A button, because programs that check mail for bad links open every link in it.
    return render_template("confirm.html", email=_bearer("confirm", token).email)


@accounts.post("/confirm/<token>")
def confirm_address(token: str) -> Response:
    user = _bearer("confirm", token)
    mailer = state.current()
    with mailer.database.session() as session:
        if not users.confirm(session, user):
            abort(_worthless(Verdict.VOID))
        signals.address_confirmed.send(mailer.app, user_id=user.id, session=session)
    return message("You are all set", "Your email address is confirmed.")


@accounts.get("/reset")
def reset() -> str:
    return render_template("reset.html", values={}, errors={})


@accounts.post("/reset")
def request_reset() -> Response:
    form = Form("email")
    email = form.email()
    if form.errors:
        return form.refused("reset.html")
    limits.check(email)
    mailer = state.current()
    with mailer.database.session() as session:
        signals.password_reset_requested.send(mailer.app, address=email, session=session)
    return message(
        "Check your inbox",
        "If the address has an account, we have sent it a link to choose a new password.",
        page_text=Markup(
            "If <strong>{}</strong> has an account, we have sent it a link to choose a new "
            "password."
        ).format(email),
        sign="mail",
        status=202,
    )


@accounts.get("/reset/<token>")
def new_password(token: str) -> str:
    user = _bearer("reset", token)
    return render_template("new_password.html", email=user.email, errors={})


@accounts.post("/reset/<token>")
def change_password(token: str) -> Response:
    user = _bearer("reset", token)
    form = Form("password")
    password = form.password(email=user.email)
    if form.errors:
        return form.refused("new_password.html", email=user.email)
    mailer = state.current()
    with mailer.database.session() as session:
        if not users.set_password(session, user, password):
            abort(_worthless(Verdict.VOID))
        signals.password_changed.send(mailer.app, user_id=user.id, session=session)
    return message("Password changed", "Your new password is in place.")


def _bearer(purpose: Purpose, token: str) -> User:
    """Return the user whose token this is; answer 410 when it is worth nothing."""
    validity = current_app.config[f"MAILER_{purpose.upper()}_SECONDS"]
    tokens = Tokens(signing.keys(current_app.config))
    with users.reading(state.current().database) as session:
        verdict, user = tokens.read(session, purpose, token, max_age=validity)
    if user is None:
        abort(_worthless(verdict))
    return user


def _worthless(verdict: Verdict) -> Response:
    if verdict is Verdict.EXPIRED:
        title, text = "This link has expired", "This link has expired. Please ask for a new one."
    else:
        title = "This link no longer works"
        text = "This link was used already, or something newer has replaced it."
    # Also after a confirmation link: a reset confirms the address as well.
    return refusal(title, text, status=410, way_out=("accounts.reset", "Get a new link"))
