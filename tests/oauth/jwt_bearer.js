// The JWT bearer grant (RFC 7523 section 2.1), which oidc-provider leaves to be registered.

import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose';
import { errors } from 'oidc-provider';

export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

// The client of a form that names none: the issuer of its assertion, as at Google. Not verified yet.
export function implicitClient(form) {
  try {
    return form.has('client_id') ? undefined : decodeJwt(form.get('assertion')).iss;
  } catch {
    return undefined;
  }
}

export function jwtBearer(provider) {
  return async function handle(context) {
    const { client, params } = context.oidc;
    const claims = await verify(provider, client, params.assertion);
    const token = new provider.ClientCredentials({
      client,
      scope: params.scope ?? claims.scope,
      extra: { sub: claims.sub ?? claims.iss },
    });
    context.oidc.entity('ClientCredentials', token);
    const value = await token.save();
    context.body = {
      access_token: value,
      expires_in: token.expiration,
      scope: token.scope,
      token_type: token.tokenType,
    };
  };
}

// RFC 7523 section 3: signature, issuer, audience, expiry, and no second use where there is a `jti`.
async function verify(provider, client, assertion) {
  let claims;
  try {
    const audience = [provider.issuer, provider.urlFor('token')];
    const expected = { issuer: client.clientId, audience, requiredClaims: ['exp'] };
    const keys = createLocalJWKSet(client.jwks);
    ({ payload: claims } = await jwtVerify(assertion, keys, expected));
  } catch (error) {
    throw new errors.InvalidGrant(`assertion: ${error.message}`);
  }
  const { iss, jti, exp } = claims;
  if (jti && !await provider.ReplayDetection.unique(iss, jti, exp)) {
    throw new errors.InvalidGrant('assertion used before');
  }
  return claims;
}
