import pytest

from app.infra.security.signing_keys import SigningKeys

OLD, NEW = b"o" * 32, b"n" * 32


class TestSigningKeys:
    def test_sign_with_the_first(self) -> None:
        assert SigningKeys({"new": NEW, "old": OLD}).signer == ("new", NEW)

    def test_contain_all_keys_in_order(self) -> None:
        assert dict(SigningKeys({"new": NEW, "old": OLD})) == {"new": NEW, "old": OLD}
        assert list(SigningKeys({"old": OLD, "new": NEW})) == ["old", "new"]
        assert len(SigningKeys({"new": NEW, "old": OLD})) == 2

    def test_do_not_change_with_their_source(self) -> None:
        keys = {"new": NEW}
        signing = SigningKeys(keys)
        keys.clear()
        assert signing.signer == ("new", NEW)

    def test_derive_a_key_from_each_secret_for_each_label(self) -> None:
        keys = SigningKeys({"new": NEW, "old": OLD})
        assert keys.derive(b"a")[0] == SigningKeys({"new": NEW}).derive(b"a")[0]
        derived = [*keys.derive(b"a"), *keys.derive(b"b")]
        assert len({NEW, OLD, *derived}) == 2 + 4
        assert {len(key) for key in derived} == {32}

    def test_have_a_repr_without_secrets(self) -> None:
        assert repr(SigningKeys({"new": NEW, "old": OLD})) == "SigningKeys(new, old)"

    @pytest.mark.parametrize(
        "keys",
        [
            {},
            {"short": b"s" * 31},
            {"new": NEW, "short": b""},
            {"": NEW},
            {"k" * 65: NEW},
            {"new\n": NEW},
            {"a b": NEW},
            {"chave-é": NEW},
            {"jwk": b'{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0"}'},
            {"pem": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
        ],
        ids=str,
    )
    def test_reject_invalid_keys(self, keys: dict[str, bytes]) -> None:
        with pytest.raises(ValueError, match="key") as refusal:
            SigningKeys(keys)
        assert not any(secret and repr(secret) in str(refusal.value) for secret in keys.values())
