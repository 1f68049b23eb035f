"""A certificate that is valid at another time: whose clock is wrong, this host's or the registry's?"""

from __future__ import annotations

import datetime
import http.client
import ssl
from email.utils import parsedate_to_datetime
from typing import Optional

from loader.bundle.errors import RegistryError

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL's x509_vfy.h.
TIME_CODES = {9: "not valid yet", 10: "expired"}
_TIMEOUT = 5.0
_DRIFT = datetime.timedelta(minutes=5)


def clock_error(host: str, code: int) -> RegistryError:
    """Return the error for a certificate refused for its dates; asks the registry once, unchecked, what time it has."""
    here = datetime.datetime.now(datetime.timezone.utc)
    there = registry_time(host)
    says = "the registry does not say its own" if there is None else f"registry says {_utc(there)}"
    if there is None:
        hint = "set the clock of whichever is wrong, or have the registry's certificate renewed"
    elif abs(here - there) > _DRIFT:
        hint = "set this host's clock (chronyc makestep), then run the same command"
    else:
        hint = "the clocks agree: the registry's certificate has to be renewed"
    return RegistryError(
        f"the certificate of {host} is {TIME_CODES[code]}", why=f"host clock reads {_utc(here)}, {says}", hint=hint
    )


def registry_time(host: str) -> Optional[datetime.datetime]:
    """Return the ``Date`` that ``host`` answers with; the question holds no login, and nothing else is believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT, context=context)
    try:
        connection.request("GET", "/v2/")
        found = parsedate_to_datetime(connection.getresponse().getheader("Date") or "")
    except (OSError, http.client.HTTPException, TypeError, ValueError):
        return None
    finally:
        connection.close()
    return found if found.tzinfo is not None else None


def _utc(time: datetime.datetime) -> str:
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
