/* The formula of Black and Scholes (1973), in the form of Hull's "Options, Futures, and
 * Other Derivatives":
 *
 *     d1 = (ln(S/K) + (r + v^2/2) t) / (v sqrt(t))        d2 = d1 - v sqrt(t)
 *     call = S N(d1) - K exp(-rt) N(d2)
 *     put  = K exp(-rt) N(-d2) - S N(-d1)
 *
 * Compilers turn the loop over a block into vector code, which takes: a count known at
 * compile time, each field in an array of its own, no call of libm (hence the series
 * below), no branch, and -fno-math-errno -fno-trapping-math (sqrtf and the selections
 * are then plain instructions). Without these it is right as well, and slower.
 */
#include "kernel.h"

#include <math.h>
#include <string.h>

/* Enough for long vector loops; the block stays in the first-level cache. */
enum { BLOCK = 64 };

struct block {
    float spot[BLOCK], strike[BLOCK], rate[BLOCK], volatility[BLOCK], time[BLOCK];
    float sign[BLOCK]; /* 1 for a call, -1 for a put */
    float price[BLOCK];
};

static inline float float_of_bits(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int32_t bits_of_float(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^x = 2^n e^r with |r| <= ln(2)/2, where seven terms of the Taylor series reach
 * single precision. x is held where 2^n is a normal number; a NaN becomes the lower
 * end. */
static inline float exponential(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    x = x > -87.0f ? x : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    float n = (x * 1.44269504f + round) - round;
    float r = (x - n * ln2_high) - n * ln2_low;
    float series = 1.0f / 720 + r * (1.0f / 5040);
    series = 1.0f / 24 + r * (1.0f / 120 + r * series);
    series = 1.0f + r * (1.0f + r * (1.0f / 2 + r * (1.0f / 6 + r * series)));
    return series * float_of_bits(((int32_t)n + 127) * (1 << 23));
}

/* ln x = e ln 2 + ln m with m from sqrt(1/2) to sqrt(2), and ln m = 2 artanh s by its
 * series, s = (m-1)/(m+1). For x > 0. */
static inline float logarithm(float x)
{
    const int32_t sqrt_half = 0x3f3504f3, mantissa = 0x007fffff;
    int32_t bits = bits_of_float(x) - sqrt_half;
    float e = (float)(bits >> 23);
    float m = float_of_bits((bits & mantissa) + sqrt_half);
    float s = (m - 1.0f) / (m + 1.0f);
    float z = s * s;
    float series = 1.0f / 5 + z * (1.0f / 7 + z * (1.0f / 9));
    return e * 0.693147181f + 2.0f * s * (1.0f + z * (1.0f / 3 + z * series));
}

/* The cumulative normal distribution: Abramowitz and Stegun, "Handbook of Mathematical
 * Functions", 26.2.17, with an error below 7.5e-8. */
static inline float normal(float x)
{
    float a = fabsf(x);
    float k = 1.0f / (1.0f + 0.2316419f * a);
    float series = 1.781477937f + k * (-1.821255978f + k * 1.330274429f);
    series = k * (0.319381530f + k * (-0.356563782f + k * series));
    float tail = 0.398942280f * exponential(-0.5f * a * a) * series;
    return x < 0.0f ? tail : 1.0f - tail;
}

/* Not inlined: only where `b` can't overlap anything do compilers use vectors. */
__attribute__((noinline)) static void price_block(struct block *restrict b)
{
    for (int i = 0; i < BLOCK; i++) {
        float s = b->spot[i], k = b->strike[i], r = b->rate[i];
        float v = b->volatility[i], t = b->time[i], sign = b->sign[i];
        float spread = v * sqrtf(t);
        /* Without volatility or time the price is the limit, max(0, S - K exp(-rt)). */
        float divisor = spread > 1e-20f ? spread : 1e-20f;
        float d1 = (logarithm(s / k) + (r + 0.5f * v * v) * t) / divisor;
        float d2 = d1 - spread;
        float discounted = k * exponential(-r * t);
        b->price[i] = sign * (s * normal(sign * d1) - discounted * normal(sign * d2));
    }
}

/* A last, shorter block is filled up with its last option. */
static void fill_block(struct block *b, const struct stock_option *options, size_t n)
{
    for (size_t i = 0; i < BLOCK; i++) {
        const struct stock_option *o = &options[i < n ? i : n - 1];
        b->spot[i] = o->spot;
        b->strike[i] = o->strike;
        b->rate[i] = o->rate;
        b->volatility[i] = o->volatility;
        b->time[i] = o->time;
        b->sign[i] = o->type == 'P' ? -1.0f : 1.0f;
    }
}

void price_options(const struct stock_option *options, float *prices, size_t n)
{
    struct block b;
    for (size_t done = 0; done < n; done += BLOCK) {
        size_t part = n - done < BLOCK ? n - done : BLOCK;
        fill_block(&b, options + done, part);
        price_block(&b);
        memcpy(prices + done, b.price, part * sizeof *prices);
    }
}
