/**
 * A certificate for `localhost` that no machine trusts, valid for a hundred years, and its key: for tests of TLS alone.
 *
 * @module
 */
export const testCertificate = `-----BEGIN CERTIFICATE-----
MIIBljCCATugAwIBAgIUJaCpqHJaxulRJvVEGxHf2OLO1OQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE0NDkxNFoYDzIxMjYxMDI5
MTQ0OTE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQfekBTwzQcIY8s0Dqo+URDNM+Qdr6FIGpqxypQNejSpzlk7LyqrN2x
N0uxJj3zORdlsJorGV+XZvbEX+AArgWho2kwZzAdBgNVHQ4EFgQUJlBia6GFQ0lX
kJDlaHAzUFBAg8YwHwYDVR0jBBgwFoAUJlBia6GFQ0lXkJDlaHAzUFBAg8YwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SQAwRgIhAOda0ZodGEMQqbynx5tXUrbnBXKTd30Wi6wgDEPojH7UAiEA8ZcHD5Sc
saEGYW7in/NcXzY1RYHDkx+Xa3axzAQphac=
-----END CERTIFICATE-----
`

export const testKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnpAmUmVVcUK6UtIv
JWk4R6RUDhESKnkgfzptTapFHOqhRANCAAQfekBTwzQcIY8s0Dqo+URDNM+Qdr6F
IGpqxypQNejSpzlk7LyqrN2xN0uxJj3zORdlsJorGV+XZvbEX+AArgWh
-----END PRIVATE KEY-----
`
