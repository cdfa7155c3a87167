"""Accounts of customers."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response, status
from pydantic import Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from app.application.accounts.change_customer import ChangeCustomer
from app.application.accounts.change_password import ChangePassword
from app.application.accounts.create_customer import CreateCustomer
from app.application.accounts.delete_customer import DeleteCustomer
from app.application.accounts.manage_sessions import ManageSessions
from app.application.accounts.read_customer import ReadCustomer
from app.domain.access import Scope
from app.domain.customer import Customer, CustomerId, CustomerQuery, CustomerSort, Role
from app.domain.outcome import (
    AdminOnly,
    CustomerNotFound,
    CustomerOnly,
    EmailTaken,
    HashingBusy,
    InsufficientScope,
    InvalidEmail,
    InvalidName,
    PreconditionFailed,
    SessionNotFound,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from app.domain.session import SessionId
from app.infra.http.access import CustomerAccess, SignedInCustomer
from app.infra.http.conditional import customer_etag, expected_version, unchanged, validators
from app.infra.http.json_writer import written_page
from app.infra.http.openapi import SIGNED_IN_ONLY, TAGGED, problems
from app.infra.http.paging import Links, PageIn, PageOut
from app.infra.http.route import Call, Reply, Router, use
from app.infra.http.router.customer_schema import (
    CustomerOut,
    EmailIn,
    GivenPassword,
    NameIn,
    NewPassword,
)
from app.infra.http.router.export_schema import ExportOut, SessionOut, SessionsOut, written_export
from app.infra.http.schema import In, Text, TimeIn, UuidIn


class CreateCustomerIn(In):
    """A new customer; without a password, signing in to the account is not possible."""

    name: NameIn
    email: EmailIn
    password: NewPassword | None = None


class ChangeCustomerIn(In):
    """The members to change; absent members stay unchanged."""

    name: NameIn | SkipJsonSchema[None] = None
    email: EmailIn | SkipJsonSchema[None] = None

    @field_validator("name", "email", mode="before")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("omit the member instead of null")
        return value


class ChangePasswordIn(In):
    """The current and the new password."""

    current_password: GivenPassword
    new_password: NewPassword


CUSTOMERS = CustomerAccess(read=Scope.CUSTOMERS_READ, write=Scope.CUSTOMERS_WRITE)
# Without scopes: not for API keys.
_CUSTOMERS_ONLY = CustomerAccess()
_ONESELF = CustomerAccess(oneself=True)

_all = Router(prefix="/customers", tags=["customers"], access=CUSTOMERS)
_one = Router(prefix="/customers/{id}", tags=["customers"], access=CUSTOMERS)
_customers_only = Router(prefix="/customers/{id}", tags=["customers"], access=_CUSTOMERS_ONLY)
_oneself = Router(prefix="/customers/{id}", tags=["customers"], access=_ONESELF)

OneCustomer = Annotated[CustomerId, Depends(CUSTOMERS.customer)]
OneByCustomer = Annotated[CustomerId, Depends(_CUSTOMERS_ONLY.customer)]

_OF_ONE = (CustomerNotFound, InsufficientScope, CustomerOnly)
_OF_CUSTOMERS_ONLY = (CustomerNotFound, CustomerOnly)


class CustomersIn(PageIn):
    """The filters and the order of a list of customers."""

    email: Annotated[
        Text | None, Field(max_length=254, description="The whole address; case-insensitive.")
    ] = None
    name: Annotated[
        Text | None,
        Field(max_length=100, description="The start of the name; case-insensitive."),
    ] = None
    created_after: TimeIn | None = None
    created_before: TimeIn | None = None
    role: Role | None = None
    sort: CustomerSort = CustomerSort.OLDEST


@_all.get(
    "",
    response_model=PageOut[CustomerOut],
    summary="List customers",
    responses=problems(AdminOnly, InsufficientScope),
)
async def list_customers(call: Call, query: Annotated[CustomersIn, Query()]) -> Reply:
    """List all customers; for internal systems and administrators."""
    links = Links(call.app.state.cursors, path=call.scope["path"], query=call.query_pairs)
    page = await call.use_cases.queries.list_customers(
        CustomerQuery(
            email=query.email,
            name=query.name,
            created_after=query.created_after,
            created_before=query.created_before,
            role=query.role,
            sort=query.sort,
            limit=query.limit,
            after=links.position(query.cursor),
        )
    )
    items = [CustomerOut.model_validate(each).model_dump_json() for each in page.items]
    return Reply(body=written_page(items, links.next_url(page.next)))


@_all.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=CustomerOut,
    summary="Create a customer",
    responses=problems(
        AdminOnly,
        InsufficientScope,
        InvalidName,
        InvalidEmail,
        WeakPassword,
        EmailTaken,
        HashingBusy,
    ),
)
async def create_customer(
    body: CreateCustomerIn,
    response: Response,
    use_case: Annotated[CreateCustomer, Depends(use(lambda all_: all_.create_customer))],
) -> Customer:
    """Create an account on behalf of a customer."""
    customer = await use_case(name=body.name, email=body.email, password=body.password)
    response.headers["Location"] = f"/customers/{customer.id}"
    return customer


@_one.get(
    "",
    response_model=CustomerOut,
    summary="Read a customer",
    responses={**problems(*_OF_ONE), **TAGGED},
)
async def read_customer(
    request: Request,
    response: Response,
    customer_id: OneCustomer,
    use_case: Annotated[ReadCustomer, Depends(use(lambda all_: all_.read_customer))],
) -> Customer | Response:
    """Get one account."""
    customer = await use_case(customer_id=customer_id)
    return unchanged(request, customer) or _with_etag(response, customer)


@_one.patch(
    "",
    response_model=CustomerOut,
    summary="Change a customer",
    responses=problems(*_OF_ONE, InvalidName, InvalidEmail, EmailTaken, PreconditionFailed),
)
async def change_customer(
    body: ChangeCustomerIn,
    request: Request,
    response: Response,
    customer_id: OneCustomer,
    use_case: Annotated[ChangeCustomer, Depends(use(lambda all_: all_.change_customer))],
) -> Customer:
    """Change the given members. With `If-Match`, only if the version is still current."""
    customer = await use_case(
        customer_id=customer_id,
        name=body.name,
        email=body.email,
        expected_version=expected_version(request, customer_id),
    )
    return _with_etag(response, customer)


@_one.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="Delete a customer",
    responses=problems(*_OF_ONE),
)
async def delete_customer(
    customer_id: OneCustomer,
    use_case: Annotated[DeleteCustomer, Depends(use(lambda all_: all_.delete_customer))],
) -> None:
    """Delete the account with its favorites, its sessions and all personal data immediately."""
    await use_case(customer_id=customer_id)


@_oneself.put(
    "/password",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="Change the password",
    responses=problems(
        *_OF_CUSTOMERS_ONLY, WrongPassword, WeakPassword, TooManyAttempts, HashingBusy
    ),
    openapi_extra=SIGNED_IN_ONLY,
)
async def change_password(
    body: ChangePasswordIn,
    principal: SignedInCustomer,
    use_case: Annotated[ChangePassword, Depends(use(lambda all_: all_.change_password))],
) -> None:
    """Replace the password and end all other sessions; only for one's own account."""
    await use_case(
        principal=principal,
        current_password=body.current_password,
        new_password=body.new_password,
    )


@_customers_only.get(
    "/sessions",
    summary="List sessions",
    responses=problems(*_OF_CUSTOMERS_ONLY),
    openapi_extra=SIGNED_IN_ONLY,
)
async def list_sessions(
    customer_id: OneByCustomer,
    principal: SignedInCustomer,
    use_case: Annotated[ManageSessions, Depends(use(lambda all_: all_.manage_sessions))],
) -> SessionsOut:
    """List the active sessions of an account, last used first."""
    sessions = await use_case.list_active(customer_id=customer_id)
    return SessionsOut(
        items=[SessionOut.of(session, current=principal.session_id) for session in sessions]
    )


@_customers_only.delete(
    "/sessions",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="End all sessions",
    responses=problems(*_OF_CUSTOMERS_ONLY),
    openapi_extra=SIGNED_IN_ONLY,
)
async def end_all_sessions(
    customer_id: OneByCustomer,
    use_case: Annotated[ManageSessions, Depends(use(lambda all_: all_.manage_sessions))],
) -> None:
    """Sign out on all devices, including this one."""
    await use_case.end_all(customer_id=customer_id)


@_customers_only.delete(
    "/sessions/{session}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="End a session",
    responses=problems(*_OF_CUSTOMERS_ONLY, SessionNotFound),
    openapi_extra=SIGNED_IN_ONLY,
)
async def end_session(
    customer_id: OneByCustomer,
    session: Annotated[UuidIn, Path(description="A session's id.")],
    use_case: Annotated[ManageSessions, Depends(use(lambda all_: all_.manage_sessions))],
) -> None:
    """Sign out on one device."""
    await use_case.end(customer_id=customer_id, session_id=SessionId(session))


@_customers_only.get(
    "/export",
    response_model=ExportOut,
    summary="Export the data of a customer",
    responses=problems(*_OF_CUSTOMERS_ONLY),
    openapi_extra=SIGNED_IN_ONLY,
)
async def export_customer(call: Call) -> Reply:
    """Get a copy of all personal data (LGPD art. 18, GDPR art. 15 and 20)."""
    await call.check_session()
    export = await call.use_cases.export_customer(customer_id=call.customer_id)
    return Reply(
        fields=[(b"content-disposition", b'attachment; filename="customer.json"')],
        body=written_export(export, call.json_writer),
    )


def _with_etag(response: Response, customer: Customer) -> Customer:
    response.headers.update(validators(customer_etag(customer)))
    return customer


routers = (_all, _one, _oneself, _customers_only)
