// oidc-provider as the tests need it: opaque tokens, short lives, refresh tokens that rotate.

import { randomUUID } from 'node:crypto';

import Provider, { errors } from 'oidc-provider';

import { JWT_BEARER, jwtBearer } from './jwt_bearer.js';
import { Tokens } from './tokens.js';

// Its notices say what is right for production: https, keys and pages of one's own.
for (const level of ['info', 'warn']) {
  const write = console[level];
  console[level] = (...words) => String(words[0]).startsWith('oidc-provider ') || write(...words);
}

// Who the resource server is to the introspection endpoint.
const INTROSPECTOR = {
  client_id: 'resource-server',
  client_secret: randomUUID(),
  grant_types: [],
  response_types: [],
  redirect_uris: [],
};

// Gives the provider, the tokens it has issued, and what the resource server needs to ask about them.
export function createProvider(issuer, settings) {
  const provider = new Provider(issuer, configuration(settings));
  const parameters = ['assertion', 'scope'];
  provider.registerGrantType(JWT_BEARER, jwtBearer(provider), parameters);
  const { client_id: id, client_secret: secret } = INTROSPECTOR;
  const introspection = { url: `${issuer}/token/introspection`, id, secret };
  return { provider, tokens: new Tokens(provider), introspection };
}

function configuration({ clients = [], scopes = [], resources = [], ttl = {}, ...rest }) {
  const { pkce_required: pkceRequired = true, rotate = true } = rest;
  return {
    clients: [...clients, INTROSPECTOR],
    scopes: ['openid', 'offline_access', ...scopes],
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth',
      'self_signed_tls_client_auth', 'none',
    ],
    enabledJWA: { clientAuthSigningAlgValues: ['EdDSA', 'ES256', 'PS256', 'RS256'] },
    cookies: { keys: [randomUUID()] },
    findAccount: (_context, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    pkce: { required: () => pkceRequired },
    rotateRefreshToken: rotate,
    // As providers other than OpenID Connect ones do: no `offline_access`, no `prompt=consent`.
    issueRefreshToken: (_context, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    // The subject of an assertion; people's tokens have theirs without.
    extraTokenClaims: (_context, { extra }) => extra,
    ttl: lifetimes(ttl),
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      mTLS: behindTls(),
      resourceIndicators: resourceIndicators(resources, scopes),
      revocation: { enabled: true },
    },
  };
}

// What a proxy in front that ends TLS says of the client's certificate.
function behindTls() {
  const field = (context, name) => context.get(name) || undefined;
  return {
    enabled: true,
    tlsClientAuth: true,
    selfSignedTlsClientAuth: true,
    getCertificate: (context) => {
      const escaped = field(context, 'x-client-certificate');
      return escaped && decodeURIComponent(escaped);
    },
    certificateAuthorized: (context) => field(context, 'x-client-verify') === 'SUCCESS',
    certificateSubjectMatches: (context, _property, expected) => field(context, 'x-client-subject') === expected,
  };
}

function lifetimes(ttl) {
  const hour = 3600;
  return {
    AccessToken: hour,
    AuthorizationCode: 60,
    ClientCredentials: hour,
    DeviceCode: 600,
    Grant: 24 * hour,
    IdToken: hour,
    Interaction: hour,
    RefreshToken: 24 * hour,
    Session: 24 * hour,
    ...ttl,
  };
}

// Only the resources that a test names exist (RFC 8707); their tokens are opaque like all others.
function resourceIndicators(resources, scopes) {
  const scope = scopes.join(' ');
  return {
    enabled: true,
    defaultResource: () => undefined,
    useGrantedResource: () => true,
    getResourceServerInfo(_context, resource) {
      if (!resources.includes(resource)) {
        throw new errors.InvalidTarget();
      }
      return { scope, audience: resource, accessTokenFormat: 'opaque' };
    },
  };
}
