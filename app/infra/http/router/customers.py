"""Accounts: one's own, or all of them."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response, status
from pydantic import field_validator
from pydantic.json_schema import SkipJsonSchema

from app.application.accounts.change_customer import ChangeCustomer
from app.application.accounts.change_password import ChangePassword
from app.application.accounts.create_customer import CreateCustomer
from app.application.accounts.delete_customer import DeleteCustomer
from app.application.accounts.export_customer import ExportCustomer
from app.application.accounts.list_customers import ListCustomers
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
from app.infra.http.access import (
    SignedInCustomer,
    anybodys,
    only_oneself,
    own_customer,
)
from app.infra.http.conditional import customer_etag, expected_version, unchanged, validators
from app.infra.http.openapi import SIGNED_IN_ONLY, TAGGED, problems
from app.infra.http.paging import PageOut, PagingIn
from app.infra.http.router.customer_schema import (
    CustomerOut,
    EmailIn,
    GivenPassword,
    NameIn,
    NewPassword,
)
from app.infra.http.router.export_schema import ExportOut, SessionOut, SessionsOut
from app.infra.http.router.favorite_schema import StaleCheck
from app.infra.http.schema import In, Text, TimeIn, UuidIn
from app.infra.http.strict_json import StrictRouter
from app.infra.http.use_cases import use


class CreateCustomerIn(In):
    """Somebody for whom an account is opened; without a password nobody can sign in to it."""

    name: NameIn
    email: EmailIn
    password: NewPassword | None = None


class ChangeCustomerIn(In):
    """What is to be changed; what is absent stays."""

    name: NameIn | SkipJsonSchema[None] = None
    email: EmailIn | SkipJsonSchema[None] = None

    @field_validator("name", "email", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if value is None:
            raise ValueError("leave it out instead")
        return value


class ChangePasswordIn(In):
    """The password that is, and the one that shall be."""

    current_password: GivenPassword
    new_password: NewPassword


_all_guard = anybodys(read=Scope.CUSTOMERS_READ, write=Scope.CUSTOMERS_WRITE)
_all = StrictRouter(
    prefix="/customers",
    tags=["customers"],
    dependencies=[Depends(_all_guard)],
)

_one_guard = own_customer(read=Scope.CUSTOMERS_READ, write=Scope.CUSTOMERS_WRITE)
_one = StrictRouter(
    prefix="/customers/{id}",
    tags=["customers"],
    dependencies=[Depends(_one_guard)],
)
OneCustomer = Annotated[CustomerId, Depends(_one_guard)]
_ONE = (CustomerNotFound, InsufficientScope, CustomerOnly)

_people_guard = own_customer()
_people = StrictRouter(
    prefix="/customers/{id}",
    tags=["customers"],
    dependencies=[Depends(_people_guard)],
)
OneCustomerByPeople = Annotated[CustomerId, Depends(_people_guard)]
_PEOPLE = (CustomerNotFound, CustomerOnly)

_oneself = StrictRouter(
    prefix="/customers/{id}",
    tags=["customers"],
    dependencies=[Depends(only_oneself)],
)


async def customer_query(
    paging: PagingIn,
    email: Annotated[
        Text | None, Query(max_length=254, description="The whole address, case aside.")
    ] = None,
    name: Annotated[
        Text | None, Query(max_length=100, description="How the name begins, case aside.")
    ] = None,
    created_after: Annotated[TimeIn | None, Query()] = None,
    created_before: Annotated[TimeIn | None, Query()] = None,
    role: Annotated[Role | None, Query()] = None,
    sort: Annotated[CustomerSort, Query()] = CustomerSort.OLDEST,
) -> CustomerQuery:
    """Return which customers are asked for."""
    return CustomerQuery(
        email=email,
        name=name,
        created_after=created_after,
        created_before=created_before,
        role=role,
        sort=sort,
        limit=paging.limit,
        after=paging.after,
    )


@_all.get("", summary="List customers", responses=problems(AdminOnly, InsufficientScope))
async def list_customers(
    query: Annotated[CustomerQuery, Depends(customer_query)],
    paging: PagingIn,
    use_case: Annotated[ListCustomers, Depends(use(lambda all_: all_.list_customers))],
) -> PageOut[CustomerOut]:
    """Look through the customers, for internal systems and administrators."""
    page = await use_case(query)
    return PageOut(
        items=[CustomerOut.model_validate(customer) for customer in page.items],
        next=paging.next_url(page.next),
    )


@_all.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=CustomerOut,
    summary="Open an account for somebody",
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
    """Register a customer on their behalf."""
    customer = await use_case(name=body.name, email=body.email, password=body.password)
    response.headers["Location"] = f"/customers/{customer.id}"
    return customer


@_one.get(
    "",
    response_model=CustomerOut,
    summary="Read a customer",
    responses={**problems(*_ONE), **TAGGED},
)
async def read_customer(
    request: Request,
    response: Response,
    customer_id: OneCustomer,
    use_case: Annotated[ReadCustomer, Depends(use(lambda all_: all_.read_customer))],
) -> Customer | Response:
    """Look at an account."""
    customer = await use_case(customer_id=customer_id)
    return unchanged(request, customer) or _with_etag(response, customer)


@_one.patch(
    "",
    response_model=CustomerOut,
    summary="Change a customer",
    responses=problems(*_ONE, InvalidName, InvalidEmail, EmailTaken, PreconditionFailed),
)
async def change_customer(
    body: ChangeCustomerIn,
    request: Request,
    response: Response,
    customer_id: OneCustomer,
    use_case: Annotated[ChangeCustomer, Depends(use(lambda all_: all_.change_customer))],
) -> Customer:
    """Change what is given. With `If-Match`, only if nobody else has changed anything since."""
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
    summary="Erase a customer",
    responses=problems(*_ONE),
)
async def delete_customer(
    customer_id: OneCustomer,
    use_case: Annotated[DeleteCustomer, Depends(use(lambda all_: all_.delete_customer))],
) -> None:
    """Erase the account with its favorites, its sessions and everything personal, at once."""
    await use_case(customer_id=customer_id)


@_oneself.put(
    "/password",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="Change one's password",
    responses=problems(*_PEOPLE, WrongPassword, WeakPassword, TooManyAttempts, HashingBusy),
    openapi_extra=SIGNED_IN_ONLY,
)
async def change_password(
    body: ChangePasswordIn,
    principal: SignedInCustomer,
    use_case: Annotated[ChangePassword, Depends(use(lambda all_: all_.change_password))],
) -> None:
    """Replace the password and end all other sessions. Nobody does this for somebody else."""
    await use_case(
        principal=principal,
        current_password=body.current_password,
        new_password=body.new_password,
    )


@_people.get(
    "/sessions",
    summary="List sessions",
    responses=problems(*_PEOPLE),
    openapi_extra=SIGNED_IN_ONLY,
)
async def list_sessions(
    customer_id: OneCustomerByPeople,
    principal: SignedInCustomer,
    use_case: Annotated[ManageSessions, Depends(use(lambda all_: all_.manage_sessions))],
) -> SessionsOut:
    """See where an account is signed in, last used first."""
    sessions = await use_case.list_active(customer_id=customer_id)
    return SessionsOut(
        items=[SessionOut.of(session, current=principal.session_id) for session in sessions]
    )


@_people.delete(
    "/sessions",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="End all sessions",
    responses=problems(*_PEOPLE),
    openapi_extra=SIGNED_IN_ONLY,
)
async def end_all_sessions(
    customer_id: OneCustomerByPeople,
    use_case: Annotated[ManageSessions, Depends(use(lambda all_: all_.manage_sessions))],
) -> None:
    """Sign out everywhere, here included."""
    await use_case.end_all(customer_id=customer_id)


@_people.delete(
    "/sessions/{session}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="End a session",
    responses=problems(*_PEOPLE, SessionNotFound),
    openapi_extra=SIGNED_IN_ONLY,
)
async def end_session(
    customer_id: OneCustomerByPeople,
    session: Annotated[UuidIn, Path(description="A session's id.")],
    use_case: Annotated[ManageSessions, Depends(use(lambda all_: all_.manage_sessions))],
) -> None:
    """Sign out one device."""
    await use_case.end(customer_id=customer_id, session_id=SessionId(session))


@_people.get(
    "/export",
    summary="Export everything held about a customer",
    responses=problems(*_PEOPLE),
    openapi_extra=SIGNED_IN_ONLY,
)
async def export_customer(
    customer_id: OneCustomerByPeople,
    response: Response,
    use_case: Annotated[ExportCustomer, Depends(use(lambda all_: all_.export_customer))],
    stale: StaleCheck,
) -> ExportOut:
    """Get a copy of all personal data (LGPD art. 18, GDPR art. 15 and 20)."""
    response.headers["Content-Disposition"] = 'attachment; filename="customer.json"'
    return ExportOut.of(await use_case(customer_id=customer_id), stale=stale)


def _with_etag(response: Response, customer: Customer) -> Customer:
    response.headers.update(validators(customer_etag(customer)))
    return customer


routers = (_all, _one, _oneself, _people)
