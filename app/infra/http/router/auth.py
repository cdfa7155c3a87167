"""Sign-up, sign-in, sessions and tokens."""

from typing import Annotated, Literal

from fastapi import Depends, Request, Response, status
from pydantic import Field

from app.application.accounts.exchange_api_key import ExchangeApiKey
from app.application.accounts.refresh_session import RefreshSession
from app.application.accounts.sign_in import SignIn
from app.application.accounts.sign_out import SignOut
from app.application.accounts.sign_up import SignUp
from app.application.signed_in import SignedIn
from app.domain.customer import Customer
from app.domain.outcome import (
    CustomerOnly,
    EmailTaken,
    HashingBusy,
    InvalidApiKey,
    InvalidCredentials,
    InvalidEmail,
    InvalidName,
    InvalidRefreshToken,
    MissingCredentials,
    TooManyAttempts,
    WeakPassword,
)
from app.infra.http.access import (
    ACCESS_COOKIE,
    REFRESH_COOKIE,
    SignedInCustomer,
    cookie_values,
    signed_in_customer,
    use_cases_of,
)
from app.infra.http.middleware.client_address import client_ip
from app.infra.http.openapi import PUBLIC, SIGNED_IN_ONLY, problems
from app.infra.http.route import Router, use
from app.infra.http.router.customer_schema import (
    CustomerOut,
    EmailIn,
    GivenPassword,
    NameIn,
    NewPassword,
)
from app.infra.http.schema import NO_NUL, In, Out

REFRESH_PATH = "/auth"
DEVICE_COOKIE = "known_device"
# The longest time for which browsers keep a cookie (RFC 6265bis, section 5.5).
DEVICE_MAX_AGE_S = 400 * 24 * 60 * 60


class SignUpIn(In):
    """A new account."""

    name: NameIn
    email: EmailIn
    password: NewPassword


class SignInIn(In):
    """The credentials of an account."""

    email: EmailIn
    password: GivenPassword


class RefreshIn(In):
    """A refresh token from a client without cookies."""

    refresh_token: Annotated[str, Field(max_length=1024, json_schema_extra={"pattern": NO_NUL})]


class TokenIn(In):
    """An API key to exchange."""

    api_key: Annotated[str, Field(max_length=1024, json_schema_extra={"pattern": NO_NUL})]


class SignedInOut(Out):
    """A new or refreshed session; the refresh token is in its cookie."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # a kind of token
    expires_in: Annotated[int, Field(description="Seconds until the access token expires.")]
    customer: CustomerOut


class TokenOut(Out):
    """A token that represents an API key (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # a kind of token
    expires_in: Annotated[int, Field(description="Seconds until the token expires.")]
    scope: Annotated[str, Field(description="The key's scopes, separated by spaces.")]


_open = Router(prefix="/auth", tags=["auth"])
_signed_in = Router(
    prefix="/auth",
    tags=["auth"],
    dependencies=[Depends(signed_in_customer)],
)


@_open.post(
    "/sign-up",
    status_code=status.HTTP_201_CREATED,
    response_model=CustomerOut,
    summary="Sign up",
    responses=problems(
        InvalidName, InvalidEmail, WeakPassword, EmailTaken, TooManyAttempts, HashingBusy
    ),
    openapi_extra=PUBLIC,
)
async def sign_up(
    body: SignUpIn,
    request: Request,
    response: Response,
    use_case: Annotated[SignUp, Depends(use(lambda all_: all_.sign_up))],
) -> Customer:
    """Create an account. It does not sign in."""
    customer = await use_case(
        name=body.name, email=body.email, password=body.password, ip=client_ip(request)
    )
    response.headers["Location"] = f"/customers/{customer.id}"
    return customer


@_open.post(
    "/sign-in",
    summary="Sign in",
    responses=problems(InvalidCredentials, TooManyAttempts, HashingBusy),
    openapi_extra=PUBLIC,
)
async def sign_in(
    body: SignInIn,
    request: Request,
    response: Response,
    use_case: Annotated[SignIn, Depends(use(lambda all_: all_.sign_in))],
) -> SignedInOut:
    """
    Start a session with an e-mail address and a password.

    The access token is in the response and in the cookie `access_token`; the refresh token is only
    in the cookie `refresh_token`. An unknown address and a wrong password have the same response.
    The cookie `known_device` gives no access: with it, failed attempts of other clients do not
    lock out this device.
    """
    signed_in = await use_case(
        email=body.email,
        password=body.password,
        ip=client_ip(request),
        device=request.headers.get("user-agent", ""),
        device_token=next(iter(cookie_values(request.scope, DEVICE_COOKIE)), None),
    )
    return _session_response(request, response, signed_in)


async def presented_refresh_token(request: Request, body: RefreshIn | None = None) -> str:
    """
    Return the refresh token of the body, else the one of the cookie.

    :raises MissingCredentials: if there is none
    :raises InvalidRefreshToken: if there are several cookies with different tokens
    """
    if body is not None:
        return body.refresh_token
    presented = set(cookie_values(request.scope, REFRESH_COOKIE))
    if not presented:
        raise MissingCredentials("Send the cookie of sign-in, or `refresh_token` in the body.")
    if len(presented) > 1:
        raise InvalidRefreshToken("The request has several different refresh tokens.")
    return presented.pop()


@_open.post(
    "/refresh",
    summary="Refresh a session",
    responses=problems(MissingCredentials, InvalidRefreshToken),
    openapi_extra=PUBLIC,
)
async def refresh_session(
    request: Request,
    response: Response,
    refresh_token: Annotated[str, Depends(presented_refresh_token)],
    use_case: Annotated[RefreshSession, Depends(use(lambda all_: all_.refresh_session))],
) -> SignedInOut:
    """
    Exchange the refresh token for a new one and a new access token.

    A refresh token is valid once. Using it again ends its session, because it may be stolen. The
    previous one is accepted for ten more seconds, in case the response was lost.
    """
    return _session_response(request, response, await use_case(refresh_token=refresh_token))


@_signed_in.post(
    "/sign-out",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="Sign out",
    responses=problems(CustomerOnly),
    openapi_extra=SIGNED_IN_ONLY,
)
async def sign_out(
    request: Request,
    response: Response,
    principal: SignedInCustomer,
    use_case: Annotated[SignOut, Depends(use(lambda all_: all_.sign_out))],
) -> None:
    """End the session of the access token, and delete the cookies."""
    await use_case(principal=principal)
    _set_cookie(request, response, ACCESS_COOKIE, "", path="/", max_age=0)
    _set_cookie(request, response, REFRESH_COOKIE, "", path=REFRESH_PATH, max_age=0)


async def presented_api_key(request: Request, body: TokenIn | None = None) -> str:
    """
    Return the API key in its header field or in the body.

    :raises MissingCredentials: if there is none
    :raises InvalidApiKey: if there are several different ones
    """
    in_header = request.headers.getlist(request.app.state.options.api_key_header)
    presented = {*in_header, *([body.api_key] if body else [])}
    if not presented:
        raise MissingCredentials("Send the API key in its header, or as `api_key` in the body.")
    if len(presented) > 1:
        raise InvalidApiKey("The request has several different API keys.")
    return presented.pop()


@_open.post(
    "/token",
    summary="Exchange an API key for a token",
    responses=problems(MissingCredentials, InvalidApiKey),
    openapi_extra={"security": [{"apiKey": []}, {}]},
)
async def exchange_api_key(
    request: Request,
    api_key: Annotated[str, Depends(presented_api_key)],
    use_case: Annotated[ExchangeApiKey, Depends(use(lambda all_: all_.exchange_api_key))],
) -> TokenOut:
    """Get a short-lived Bearer token with the scopes of the key, to send instead of the key."""
    principal = await use_cases_of(request.scope).authenticate.by_api_key(api_key)
    request.state.principal = principal
    token = await use_case(principal=principal)
    return TokenOut(
        access_token=token.value,
        expires_in=int(token.expires_in.total_seconds()),
        scope=" ".join(sorted(principal.scopes)),
    )


def _session_response(request: Request, response: Response, signed_in: SignedIn) -> SignedInOut:
    token, session = signed_in.access_token, signed_in.session
    expires_in = int(token.expires_in.total_seconds())
    idle = int((session.idle_expires_at - session.last_used_at).total_seconds())
    _set_cookie(request, response, ACCESS_COOKIE, token.value, path="/", max_age=expires_in)
    _set_cookie(
        request,
        response,
        REFRESH_COOKIE,
        signed_in.refresh_token,
        path=REFRESH_PATH,
        max_age=idle,
    )
    if signed_in.device_token is not None:
        _set_cookie(
            request,
            response,
            DEVICE_COOKIE,
            signed_in.device_token,
            path=REFRESH_PATH,
            max_age=DEVICE_MAX_AGE_S,
        )
    return SignedInOut(
        access_token=token.value,
        expires_in=expires_in,
        customer=CustomerOut.model_validate(signed_in.customer),
    )


def _set_cookie(
    request: Request, response: Response, name: str, value: str, *, path: str, max_age: int
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        path=path,
        secure=request.app.state.options.cookie_secure,
        httponly=True,
        samesite="lax",
    )


routers = (_open, _signed_in)
